"""Notice the processes that a test starts, so that quick tests stay without any."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVENTS: Final = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen"}
_watching: list[list[str]] = []


@contextmanager
def processes_started() -> Iterator[list[str]]:
    """Give a list of what starts until the context ends; an outer context hears nothing of it."""
    started = list[str]()
    _watching.append(started)
    try:
        yield started
    finally:
        _watching.remove(started)


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in _EVENTS:
        _watching[-1].append(f"{event} {arguments[:2]}")


# A hook cannot be taken out again.
sys.addaudithook(_notice)
