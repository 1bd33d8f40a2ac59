"""Keep the parts of this process going: one that ends by a fault is started again.

A server or worker is made of parts that run as long as it does. None of them may take the process
down: a fault is logged, told to whoever asks (`/readyz`, `mcp-jobs doctor`), and after a pause the
part begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs.domain.errors import FatalError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mcp_jobs.domain.clock import Clock

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0
_STEADY_S: Final = 1.0
_FORGIVEN_S: Final = 60.0
"""A part that ran for this long is no longer the one that failed: its pauses begin anew."""

_ERROR_CHARS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A part that failed and has not run steadily since."""

    part: str
    error: str
    count: int
    """How often it failed in a row."""
    at_ms: int


class Upkeep:
    """The parts of one process. `tell` is told of the faults whenever they change."""

    def __init__(self, clock: Clock, *, tell: Callable[[Sequence[Fault]], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._faults: dict[str, Fault] = {}
        self._ending = False

    def faults(self) -> Sequence[Fault]:
        """Return what has failed and has not run steadily since."""
        return tuple(self._faults.values())

    def end(self) -> None:
        """Start nothing again: the process is about to leave."""
        self._ending = True

    async def keep(self, part: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a part until cancelled, again after a pause whenever it fails or just ends.

        Raises only what contains a `FatalError`, with which the process is to end.
        """
        pause_s, count = _FIRST_PAUSE_S, 0
        while True:
            began_s = self._clock.monotonic_s()
            steady = asyncio.get_running_loop().call_later(
                max(_STEADY_S, pause_s), self._forget, part
            )
            try:
                await run()
                problem: Exception = RuntimeError("it ended, which it should not")
            except Exception as error:  # a part must not take the process down
                if _is_fatal(error):
                    raise
                problem = _single(error)
            finally:
                steady.cancel()
            if self._ending:
                # What it works with is being closed under its hands.
                await anyio.sleep_forever()
            if self._clock.monotonic_s() - began_s >= _FORGIVEN_S:
                pause_s, count = _FIRST_PAUSE_S, 0
            count += 1
            self._note(part, problem, count, pause_s)
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _note(self, part: str, problem: Exception, count: int, pause_s: float) -> None:
        text = _text_of(problem)
        before = self._faults.get(part)
        # Once for each fault: what fails in the same way again is told in a line.
        again = before is not None and before.error == text
        logger.error(
            "%s failed (%s) and starts again in %g s",
            part,
            text,
            pause_s,
            exc_info=None if again else problem,
        )
        self._faults[part] = Fault(part=part, error=text, count=count, at_ms=self._clock.now_ms())
        self._tell(self.faults())

    def _forget(self, part: str) -> None:
        if self._faults.pop(part, None) is not None:
            logger.warning("%s runs again", part)
            self._tell(self.faults())


def _is_fatal(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_fatal(inner) for inner in error.exceptions)
    return isinstance(error, FatalError)


def _single(error: Exception) -> Exception:
    """Return the one error of a group; of several, the group."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _text_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_ERROR_CHARS]
