"""The store in one SQLite file: a writer and a reader connection, a thread each, and a glance."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from mcp_jobs.domain.errors import InvalidInputError, KeyConflictError, StoreUnsureError
from mcp_jobs.domain.models import (
    Answer,
    Attempt,
    Job,
    JobFilter,
    Launch,
    NewJob,
    Outcome,
    Page,
    Progress,
    Question,
)
from mcp_jobs.domain.states import LONGEST_PAUSE_MS, Status
from mcp_jobs.store.base import Accepted, Change, Claimed, Due
from mcp_jobs.store.sqlite import connection as sqlite
from mcp_jobs.store.sqlite import pages, rows
from mcp_jobs.store.sqlite.outbox import SqliteOutbox
from mcp_jobs.store.sqlite.sqlite_gates import SqliteGates
from mcp_jobs.store.sqlite.sqlite_schedules import SqliteSchedules
from mcp_jobs.store.sqlite.statements import FEW, Statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import aiosqlite


POLL_S: Final = 0.1
"""How late a change of another connection may be seen. A look costs about 0.1 ms."""

_ANSWER_S: Final = 10.0
"""Longer than a statement waits for its turn and for the lock: what then is missing is the disk."""

_STATES: Final = frozenset(status.value for status in Status)
_IN_VAIN: Final = (Status.FAILED, Status.CANCELLED)
_ENDINGS_OF: Final = 1000
"""How many of the newest ids are compared with an end."""


class SqliteStore:
    """Implements `Store`. Make it with `open`."""

    def __init__(
        self,
        path: Path,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        glance: sqlite.Glance,
        pin: sqlite.Pinner,
    ) -> None:
        self._sql = Statements(sqlite.DatabaseFile(path, pin), writer, reader, glance)
        self._data_version: int | None = None
        self.outbox = SqliteOutbox(self._sql)
        self.gates = SqliteGates(self._sql)
        self.schedules = SqliteSchedules(self._sql)

    @classmethod
    async def open(cls, path: Path, *, pin: sqlite.Pinner) -> SqliteStore:
        """Open or create the file; `pin` sees whether it is still there.

        Raises `StoreError` or `StoreBusyError`.
        """
        writer = await sqlite.open_writer(path)
        try:
            reader = await sqlite.open_reader(path)
        except BaseException:
            await writer.close()
            raise
        try:
            return cls(path, writer, reader, sqlite.Glance(path), pin)
        except BaseException:
            await reader.close()
            await writer.close()
            raise

    def lost(self) -> str | None:
        return self._sql.file.gone or self._sql.file.lost()

    def abandon(self, why: str) -> None:
        self._sql.file.gone = why

    async def close(self) -> None:
        self._sql.glance.close()
        await self._sql.reader.close()
        await self._sql.writer.close()

    # -- changes of one job ----------------------------------------------------------------------

    async def create(self, new: NewJob) -> Accepted:
        row = await self._write_for_caller("create_job", **rows.new_job_parameters(new))
        if row is not None:
            return Accepted(job=rows.job_from(row), existing=False, queue_position=row["position"])
        existing = await self._existing(new)
        if existing is None:
            await self._refuse_parents(new)
            # Removed between the two statements, or ended: nothing stands in its way any more.
            return await self.create(new)
        return Accepted(job=existing, existing=True, queue_position=None)

    async def _existing(self, new: NewJob) -> Job | None:
        """Return the job that was there before one that could not be stored."""
        if new.schedule is not None:
            values = {"schedule": new.schedule, "fire_at_ms": new.fire_at_ms}
            if fired := _first_job(await self._sql.look_up("job_fired", **values)):
                return fired
        job = _first_job(
            await self._sql.look_up("job_by_key", owner=new.owner, key=new.idempotency_key)
        )
        if job is not None and job.fingerprint != new.fingerprint:
            raise KeyConflictError(
                f"The idempotency key {new.idempotency_key!r} belongs to job {job.id}, which was "
                "started with other arguments. Use another key, or the same arguments."
            )
        if job is None and new.if_running == "attach":
            values = {"owner": new.owner, "likeness": new.likeness}
            return _first_job(await self._sql.look_up("job_alike", **values))
        return job

    async def _refuse_parents(self, new: NewJob) -> None:
        for parent_id in new.after:
            parent = await self.get(new.owner, parent_id)
            if parent is None:
                raise InvalidInputError(
                    f"after: there is no job {parent_id!r}. Name jobs of yours that have not been "
                    "removed."
                )
            if parent.status in _IN_VAIN and not new.after_any_end:
                raise InvalidInputError(
                    f"after: job {parent_id} has ended as {parent.status}, so this one would never "
                    "begin. Start that one again, or pass after_any_end."
                )

    async def claim(
        self, *, claimer: str, locality: str, incarnation: str, capacity: int, now_ms: int
    ) -> Claimed | None:
        row = await self._write(
            "claim_due_job",
            claimer=claimer,
            locality=locality,
            incarnation=incarnation,
            capacity=capacity,
            now_ms=now_ms,
        )
        if row is None:
            return None
        return Claimed(
            job=rows.job_from(row), next_due_ms=row["next_due_ms"], running=row["running"]
        )

    async def launch_of(self, job_id: str) -> Launch | None:
        found = await self._sql.look_up("launch_of", id=job_id)
        return rows.launch_from(found[0]["launch"]) if found else None

    async def keep_launch(self, job: Job, launch: Launch) -> None:
        values = {"id": job.id, "token": job.claim_token, "launch": rows.launch_text(launch)}
        await self._write("keep_launch", **values)

    async def set_prepared(self, job: Job, incarnation: str) -> Job | None:
        return await self._change(
            "set_prepared", id=job.id, token=job.claim_token, incarnation=incarnation
        )

    async def take_over(self, job: Job, *, claimer: str) -> Job | None:
        return await self._change(
            "take_over_job",
            id=job.id,
            claimer=claimer,
            previous=job.claimed_by,
            token=job.claim_token,
        )

    async def settle(self, job: Job, outcome: Outcome) -> Job | None:
        return await self._change(
            "settle_job", id=job.id, token=job.claim_token, **rows.outcome_parameters(outcome)
        )

    async def set_progress(self, job: Job, progress: Progress) -> Job | None:
        return await self._change(
            "set_progress",
            id=job.id,
            token=job.claim_token,
            progress=rows.progress_text(progress),
        )

    async def request_cancel(self, owner: str, job_id: str, *, now_ms: int) -> Job | None:
        values = {"id": job_id, "owner": owner, "now_ms": now_ms}
        # Between the first two a job may have moved from running to retrying.
        for query in ("cancel_waiting_job", "request_cancel", "cancel_waiting_job"):
            row = await self._write_for_caller(query, **values)
            if row is not None:
                return rows.job_from(row)
        return await self.get(owner, job_id)

    async def set_priority(self, owner: str, job_id: str, priority: int) -> Job | None:
        return await self._change("set_priority", id=job_id, owner=owner, priority=priority)

    async def ask(self, job: Job, question: Question) -> Question | None:
        row = await self._write(
            "ask_question",
            id=job.id,
            token=job.claim_token,
            **rows.question_parameters(question),
        )
        if row is not None:
            return rows.question_from(row)
        current = await self.find(job.id)
        if current is None or current.ended or current.claim_token != job.claim_token:
            return None
        asked = await self.questions(job.id)
        return next((known for known in asked if known.key == question.key), None)

    async def answer(
        self, owner: str, job_id: str, key: str, answer: Answer, *, now_ms: int
    ) -> Job | None:
        row = await self._write_for_caller(
            "answer_question",
            id=job_id,
            owner=owner,
            key=key,
            answer=rows.answer_text(answer),
            now_ms=now_ms,
        )
        return None if row is None else await self.find(job_id)

    async def prune_changes(self, *, before_ms: int, limit: int) -> int:
        return len(await self._sql.write("prune_changes", before_ms=before_ms, limit=limit))

    async def remove_old(self, *, before_ms: int, keep: int, limit: int) -> Sequence[str]:
        expired = {"before_ms": before_ms, "limit": limit}
        removed = await self._sql.write("remove_expired", **expired)
        if not removed:
            removed = await self._sql.write("remove_surplus", keep=keep, limit=limit)
        return [row["id"] for row in removed]

    # -- reads -----------------------------------------------------------------------------------

    async def get(self, owner: str, job_id: str) -> Job | None:
        return _first_job(await self._sql.look_up("job_by_id", id=job_id, owner=owner))

    async def find(self, job_id: str) -> Job | None:
        return _first_job(await self._sql.look_up("job_by_id_of_anyone", id=job_id))

    async def list(self, owner: str, where: JobFilter, *, limit: int, cursor: str | None) -> Page:
        sql, values = pages.statement(owner, where, cursor)
        values["limit"] = limit + 1
        read = (
            self._sql.look_up_sql if limit <= FEW and pages.is_quick(where) else self._sql.read_sql
        )
        found = await read(sql, values)
        jobs = tuple(rows.job_from(row) for row in found[:limit] if row["id"] is not None)
        counts = rows.counts_from(rows.mapping(found[0]["told_counts"]))
        return Page(
            jobs=jobs,
            next_cursor=jobs[-1].id if len(found) > limit else None,
            counts=counts,
            others=max(0, found[0]["told_total"] - sum(counts.values())),
        )

    async def counts(self, owner: str) -> dict[Status, int]:
        found = await self._sql.look_up("counts", owner=owner)
        return rows.counts_from({row["status"]: row["total"] for row in found})

    async def totals(self) -> dict[Status, int]:
        found = await self._sql.read("totals")
        return {Status(row["status"]): row["total"] for row in found if row["status"] in _STATES}

    async def running_count(self) -> int:
        return int((await self._sql.look_up("running_count"))[0]["total"])

    async def attempts(self, job_id: str) -> Sequence[Attempt]:
        return [rows.attempt_from(row) for row in await self._sql.look_up("attempts_of", id=job_id)]

    async def questions(self, job_id: str) -> Sequence[Question]:
        return [
            rows.question_from(row) for row in await self._sql.look_up("questions_of", id=job_id)
        ]

    async def queue_position(self, job_id: str) -> int:
        return int((await self._sql.read("queue_position", id=job_id))[0]["position"])

    async def recent_ids(self, owner: str, *, limit: int) -> Sequence[str]:
        return [r["id"] for r in await self._sql.read("recent_ids", owner=owner, limit=limit)]

    async def matching_ids(self, owner: str, part: str, *, limit: int) -> Sequence[str]:
        rows_found = await self._sql.read("matching_ids", owner=owner, part=part, limit=limit)
        found = {row["id"] for row in rows_found}
        # The ends of ids are in no index.
        recent = await self.recent_ids(owner, limit=_ENDINGS_OF)
        found.update(job_id for job_id in recent if job_id.endswith(part))
        return sorted(found, reverse=True)[:limit]

    async def due(self, locality: str, *, now_ms: int) -> Due:
        row = (await self._sql.read("next_due", locality=locality, now_ms=now_ms))[0]
        return Due(since_ms=row["since_ms"], next_ms=row["next_ms"], running=row["running"])

    async def reset_future_run_at(self, *, now_ms: int) -> bool:
        # Nearly always there is nothing to mend, which the reader sees without a write lock.
        values = {"now_ms": now_ms, "longest_pause_ms": LONGEST_PAUSE_MS}
        if not await self._sql.read("future_jobs", **values):
            return False
        return bool(await self._sql.write("reset_future_run_at", **values))

    async def running(self, *, needing_care_of: str = "") -> Sequence[Job]:
        found = await self._sql.read("running_jobs", needing_care_of=needing_care_of)
        return [rows.job_from(row) for row in found]

    async def states_of(self, job_ids: Sequence[str]) -> dict[str, Status]:
        found = await self._sql.read("states_of", ids=json.dumps(list(job_ids)))
        return {row["id"]: Status(row["status"]) for row in found}

    async def unfinished(self, locality: str) -> int:
        return int((await self._sql.read("waiting_or_running", locality=locality))[0]["total"])

    # -- what changed ----------------------------------------------------------------------------

    async def wait_for_change(self, within_s: float) -> bool:
        deadline_s = time.monotonic() + within_s
        while True:
            # Before the look: one that finds the file locked says at once that it may have changed.
            await asyncio.sleep(min(POLL_S, within_s))
            if await self.changed_elsewhere():
                return True
            if time.monotonic() >= deadline_s:
                return False

    async def changed_elsewhere(self) -> bool:
        """Say whether another connection wrote since the last call. Cheap enough to poll."""
        version = self._sql.glance.version()
        # Unknown: whoever then reads what changed finds out more.
        changed = version is None or version != self._data_version
        self._data_version = version
        return changed

    async def last_change(self) -> int:
        return int((await self._sql.look_up("last_change"))[0]["seq"])

    async def first_change(self) -> int:
        return int((await self._sql.look_up("first_change"))[0]["seq"])

    async def changes_after(self, seq: int, *, limit: int) -> Sequence[Change]:
        return [
            rows.change_from(row)
            for row in await self._sql.look_up("changes_after", seq=seq, limit=limit)
        ]

    # -- statements ------------------------------------------------------------------------------

    async def _change(self, query: str, **values: Any) -> Job | None:
        row = await self._write(query, **values)
        return None if row is None else rows.job_from(row)

    async def _write(self, query: str, **values: Any) -> sqlite.Row | None:
        found = await self._sql.write(query, **values)
        return found[0] if found else None

    async def _write_for_caller(self, query: str, **values: Any) -> sqlite.Row | None:
        """Write what a caller waits for, who is answered also when the disk is not.

        Raises `StoreUnsureError` then: a statement that has begun cannot be taken back.
        """
        with anyio.move_on_after(_ANSWER_S):
            return await self._write(query, **values)
        raise StoreUnsureError(
            f"The disk of the job database {self._sql.file.path} does not answer, so it is not "
            "known whether this was stored. Look at the job in a moment, before you try again."
        )


def _first_job(found: Sequence[sqlite.Row]) -> Job | None:
    return rows.job_from(found[0]) if found else None
