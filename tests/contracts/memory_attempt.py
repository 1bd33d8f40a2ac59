"""Attempts in memory: what runs is a task of this process that does a `Work`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.execution.base import Ended, Lost, Update
from mcp_jobs.output.progress import Progress
from tests.contracts.memory_output import MemoryOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mcp_jobs.domain.models import Job, Launch
    from mcp_jobs.execution.base import ExitRecord
    from tests.contracts.work import Work

_AGAIN_S = 0.01
_SIGTERM, _SIGKILL = 15, 9


@dataclass(kw_only=True)
class MemoryJob:
    """What a place keeps of one job."""

    made_ms: int
    launch: Launch | None
    """What the next attempt needs; a start takes it."""
    fence: int = 0
    """The lowest claim token that may start."""
    newest: MemoryRun | None = None
    output: MemoryOutput = field(default_factory=MemoryOutput)
    order: tuple[str, float] | None = None
    answers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    released: anyio.Event = field(default_factory=anyio.Event)
    frozen: bool = False
    """Whoever watches over it stands still."""


class MemoryRun:
    """One attempt of a job as it happens."""

    def __init__(self, job: MemoryJob, work: Work, token: int, grew: Callable[[], None]) -> None:
        self.token = token
        self.output_start = job.output.bytes_total
        self.record: ExitRecord | None = None
        self.watched, self.lives = True, True
        self.remembered = True
        """It is known that it began."""
        self.progress: Progress | None = None
        self.questions: dict[str, Mapping[str, Any]] = {}
        self.changed = anyio.Event()
        self._job, self._work, self._grew = job, work, grew
        self._scope = anyio.CancelScope()
        self._signal = _SIGTERM
        self._started_ms = SystemClock().now_ms()

    def tell(self) -> None:
        """Let whoever follows it look again."""
        changed, self.changed = self.changed, anyio.Event()
        changed.set()

    async def live(self) -> None:
        """Do the work, and have its end written down by whoever still watches."""
        code = None
        with self._scope:
            code = await self._do(self._work)
        self.lives = False
        if self.watched:
            self.record = self._record(code)
        self.watched = False
        self.questions.clear()
        self.tell()

    async def _do(self, work: Work) -> int:
        await anyio.lowlevel.checkpoint()
        self._print(work.prints)
        if work.percent is not None:
            self._say_progress(work.percent)
        if work.asks is not None:
            self._print(json.dumps(await self._ask(work.asks)))
        if work.waits:
            await self._job.released.wait()
        return work.code

    def _print(self, text: str) -> None:
        if text:
            self._job.output.append(text.encode())
            self._grew()

    def _say_progress(self, percent: int) -> None:
        self.progress = Progress(current=percent, total=100, percent=percent, message=None)
        self.tell()

    async def _ask(self, key: str) -> Mapping[str, Any]:
        if key not in self._job.answers:
            schema = {"type": "object", "properties": {"name": {"type": "string"}}}
            self.questions[key] = {"key": key, "message": "Which name?", "schema": schema}
            self.tell()
        while key not in self._job.answers:
            await self.changed.wait()
        self.questions.pop(key, None)
        return self._job.answers[key]

    async def obey(self, grace_s: float) -> None:
        """Be told to end: at once, or by force after the grace."""
        if not self._work.stubborn:
            self.end(_SIGTERM)
            return
        with anyio.move_on_after(grace_s):
            while self.lives:
                await self.changed.wait()
        self.end(_SIGKILL)

    def end(self, signal: int = _SIGKILL) -> None:
        """End it by force."""
        if self.lives:
            self._signal = signal
            self._scope.cancel()

    async def gone(self) -> None:
        """Return when nothing of it lives."""
        while self.lives:
            await self.changed.wait()

    def _record(self, code: int | None) -> ExitRecord:
        order = self._job.order
        return {
            "token": self.token,
            "reason": None if order is None or code is not None else order[0],
            "exit_code": code,
            "signal": self._signal if code is None else None,
            "error": None,
            "started_at_ms": self._started_ms,
            "finished_at_ms": SystemClock().now_ms(),
            "cpu_s": 0.0,
            "memory_peak_bytes": 0,
            "bytes_total": self._job.output.bytes_total,
            "dropped_bytes": 0,
            "output_start": self.output_start,
            "output_error": None,
        }


class MemoryAttempt:
    """An `Attempt` that follows a run."""

    def __init__(self, claim: Job, run: MemoryRun) -> None:
        self._claim, self._run = claim, run
        self._seen: Progress | None = None
        self._given: set[str] = set()
        self._taken: set[str] = set()

    def __aiter__(self) -> MemoryAttempt:
        return self

    async def __anext__(self) -> Update:
        while True:
            if self._given & set(self._run.questions):
                # What nobody has taken is given again, but not without a pause.
                await anyio.sleep(_AGAIN_S)
            update = self._news()
            if update is not None:
                return update
            if not self._run.watched:
                raise StopAsyncIteration
            await self._run.changed.wait()

    def _news(self) -> Update | None:
        run, asked = self._run, self._run.questions
        progress = run.progress if run.progress is not self._seen else None
        questions = {name: what for name, what in asked.items() if name not in self._taken}
        self._seen, self._given = run.progress, set(questions)
        if progress is None and not questions:
            return None
        return Update(progress=progress, questions=questions)

    def took(self, name: str) -> None:
        self._taken.add(name)
        self._given.discard(name)

    async def ended(self) -> Ended | Lost | None:
        record = self._run.record
        if record is None:
            return Lost(why="Interrupted: it was lost.", output_start=self._run.output_start)
        return Ended(record=record, superseded=self._run.token > self._claim.claim_token)

    async def left(self) -> None:
        await self._run.gone()

    def close(self) -> None:
        """Nothing is held."""
