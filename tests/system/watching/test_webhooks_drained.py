"""Webhooks that failed once are tried again also where no server is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.receiver import Received, Receiver, receiving
from tests.stores import open_store
from tests.support import BOUND_S, until
from tests.system.fleet import worker
from tests.system.watching.test_webhooks import LOCAL, ended_job
from tests.web import serving, start

if TYPE_CHECKING:
    from tests.support import Place

_PAUSES = "from mcp_jobs.engine import webhooks; webhooks.PAUSES_S = ({pause_s},) * 8"


class Busy:
    """Answers with 503 so often, and then well."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def __call__(self, _: Received) -> tuple[int, dict[str, str]]:
        self.failures -= 1
        return (503 if self.failures >= 0 else 204), {}


async def drained(place: Place, receiver: Receiver, pause_s: float) -> tuple[int, int]:
    """Let a worker drain a home with one message; returns its exit code and what is left."""
    (place.home / "jobs").mkdir()
    store = await open_store(place.settings().database)
    try:
        await ended_job(store, {"url": receiver.url})
        change = _PAUSES.format(pause_s=pause_s)
        with worker(place, "--drain", change=change, **LOCAL) as drain:
            await until(lambda: drain.poll() is not None, bound_s=BOUND_S)
        return drain.wait(), await store.outbox.pending()
    finally:
        await store.close()


async def test_draining_stays_until_what_failed_is_delivered(place: Place) -> None:
    with receiving(Busy(2)) as receiver:
        code, left = await drained(place, receiver, pause_s=0.2)

    assert (code, left, len(receiver.got)) == (0, 0, 3)


async def test_draining_leaves_what_is_due_in_hours_to_others(place: Place) -> None:
    with receiving(Busy(2)) as receiver:
        code, left = await drained(place, receiver, pause_s=7200)

    assert (code, left, len(receiver.got)) == (0, 1, 1)


async def test_what_failed_once_is_delivered_after_the_last_server_has_left(place: Place) -> None:
    pauses = _PAUSES.format(pause_s=1.0)
    code = f"{pauses}; from mcp_jobs.__main__ import main; main()"
    with receiving(Busy(1)) as receiver:
        with serving(place, code=code, **LOCAL) as server, server.client() as client:
            start(client, "true", webhook=receiver.url)
            await until(lambda: len(receiver.got) == 1)
        await until(lambda: len(receiver.got) == 2)
    assert receiver.got[0].id == receiver.got[1].id
