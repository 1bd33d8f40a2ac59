"""Webhooks: signed, from the outbox, tried again, never to where they must not go."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.domain.models import Delivery, Outcome
from mcp_jobs.domain.states import Status
from mcp_jobs.engine.upkeep import Upkeep
from mcp_jobs.engine.webhooks import PAUSES_S, Webhooks
from mcp_jobs.execution import private_files
from mcp_jobs.execution.owner_locks import Owners
from mcp_jobs.store.base import DELIVERIES_OF_OWNER
from tests.receiver import receiving
from tests.stores import NOW, OWNER, new_job, sqlite_store
from tests.support import wait_until
from tests.system.station import kill_launchers
from tests.web import ended, named_token, serving, start, start_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp_jobs.store import Store
    from tests.receiver import Received
    from tests.support import Place

LOCAL = {"MCP_JOBS_WEBHOOK_HOSTS": "127.0.0.1", "MCP_JOBS_WEBHOOK_PRIVATE": "127.0.0.0/8"}
DAY_MS = 24 * 3_600_000
COMPLETED = Outcome(
    status=Status.COMPLETED, reason=None, exit_code=0, error=None, result=None, started_at_ms=NOW,
    finished_at_ms=NOW, output_start=0, cpu_s=None, memory_peak_bytes=None,
)  # fmt: skip


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.time_ms = NOW

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic_s(self) -> float:
        return self.time_ms / 1000


class Sender:
    """The delivery of one process, on a clock that the test moves."""

    def __init__(self, place: Place, store: Store, name: str = "one") -> None:
        self.store = store
        self.clock = Clock()
        settings = place.settings(webhook_private=("127.0.0.0/8",))
        settings.owners_dir.mkdir(exist_ok=True)
        self.owners = Owners(settings.owners_dir, name, self.clock)
        self.webhooks = Webhooks(
            store=store,
            bus=InProcessBus(),
            members=self.owners,
            settings=settings,
            clock=self.clock,
            upkeep=Upkeep(self.clock, tell=lambda _: None),
        )
        self.owners.join()

    async def job(self, *urls: str, status: Status = Status.COMPLETED) -> str:
        """Store a job that has ended."""
        return await ended_job(self.store, *({"url": url} for url in urls), status=status)


async def ended_job(
    store: Store,
    *hooks: dict[str, Any],
    status: Status = Status.COMPLETED,
    owner: str = OWNER,
) -> str:
    accepted = await store.create(new_job(webhooks=hooks, owner=owner))
    claimed = await store.claim(
        claimer="x", locality="machine-a", incarnation="home boot", capacity=9, now_ms=NOW
    )
    assert claimed is not None
    assert await store.settle(claimed.job, replace(COMPLETED, status=status)) is not None
    return accepted.job.id


# -- over a server -------------------------------------------------------------------------------


def test_the_end_of_a_job_is_told_signed_and_each_attempt_is_shown(place: Place) -> None:
    with receiving() as receiver, serving(place, **LOCAL) as server, server.client() as client:
        job = start(client, "echo x; exit 3", webhook=receiver.url)
        wait_until(lambda: receiver.got)
        (got,) = receiver.got
        message = got.verified(private_files.webhook_secret(place.home))
        assert message["type"] == "job.failed"
        assert message["data"]["job_id"] == job["job_id"]
        assert message["data"]["exit_code"] == 3
        assert message["timestamp"] == message["data"]["finished_at"]

        def shown() -> Any:
            return client.get(f"/jobs/{job['job_id']}/deliveries").json()["messages"][0]

        wait_until(lambda: shown()["status"] == "delivered")
        (attempt,) = shown()["attempts"]
        assert (shown()["id"], shown()["url"]) == (got.id, receiver.url)
        assert (attempt["number"], attempt["http_status"], attempt["error"]) == (1, 204, None)


def test_a_declared_webhook_is_told_of_the_states_that_it_names(place: Place) -> None:
    with receiving() as receiver:
        place.declare(
            "jobs:\n"
            "  bad: {description: Fail., command: ['false'], "
            f"webhook: {{url: '{receiver.url}', on: [failed]}}}}\n"
            "  good: {description: Do well., command: ['true'], "
            f"webhook: {{url: '{receiver.url}', on: [failed]}}}}\n"
        )
        with serving(place, **LOCAL) as server, server.client() as client:
            good = client.post("/jobs", json={"type": "good", "wait_seconds": 30}).json()
            bad = client.post("/jobs", json={"type": "bad", "wait_seconds": 30}).json()
            assert client.get(f"/jobs/{good['job_id']}/deliveries").json() == {"messages": []}
            wait_until(lambda: receiver.got)
            assert b'"type": "job.failed"' in receiver.got[0].body
            assert bad["job_id"].encode() in receiver.got[0].body


def test_a_message_is_delivered_after_the_server_was_killed_in_the_middle(place: Place) -> None:
    killed = False

    def answer(_: Received) -> tuple[int, dict[str, str]]:
        nonlocal killed
        if not killed:
            # The receiver has it, and the server will never know.
            killed = True
            server.kill()
        return 204, {}

    with receiving(answer) as receiver:
        server = start_server(place, **LOCAL)
        with server.client() as client:
            job_id = start(client, "true", webhook=receiver.url)["job_id"]
        wait_until(lambda: server.process.poll() is not None)
        with serving(place, **LOCAL) as again, again.client() as client:
            wait_until(lambda: len(receiver.got) >= 2)
            ended(client, job_id)
            assert len({got.id for got in receiver.got}) == 1
            assert len({got.body for got in receiver.got}) == 1


@pytest.fixture
def undelivered(place: Place) -> Iterator[None]:
    """Ends the worker that stays for what a test leaves undelivered."""
    yield
    kill_launchers(place)
    for pid in place.processes():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("undelivered")
def test_an_address_that_is_not_allowed_is_refused_and_the_reason_shown(place: Place) -> None:
    with (
        receiving() as receiver,
        serving(place, MCP_JOBS_WEBHOOK_HOSTS="127.0.0.1") as server,
        server.client() as client,
    ):
        job_id = start(client, "true", webhook=receiver.url)["job_id"]

        def attempts() -> Any:
            return client.get(f"/jobs/{job_id}/deliveries").json()["messages"][0]["attempts"]

        ended(client, job_id)
        wait_until(attempts)
        assert "private addresses" in attempts()[0]["error"]
        assert attempts()[0]["next_attempt_at"] is not None
        assert receiver.got == []


BAD_URLS = (
    "http://127.0.0.1:99999/", "http://127.0.0.1:0/", "http://" + "a" * 70 + ".example/",
    "http://a..example/", "http://" + ".".join(["a" * 60] * 6), "http://[::1/", "http://",
    "http:///x", "ftp://127.0.0.1/", "", "x", "http://u:p@127.0.0.1/", "http://127.0.0.1/\r\nx: y",
    "http://\u00e4\u00b7.example/", "http://xn--a.example:x/", "https://127.0.0.1:1/", "\0",
)  # fmt: skip


@pytest.mark.usefixtures("undelivered")
def test_a_message_that_cannot_be_sent_is_its_own_failure_and_stops_nothing(place: Place) -> None:
    with receiving() as receiver, serving(place, **LOCAL) as server, server.client() as client:
        job_id = start(client, "true")["job_id"]
        ended(client, job_id)
        with closing(sqlite3.connect(place.home / "jobs.db")) as database, database:
            database.executemany(
                "INSERT INTO outbox (id, job_id, url, created_at_ms, next_attempt_at_ms) "
                "VALUES (?, ?, ?, 1, 1)",
                [(f"msg_{n:02}", job_id, url) for n, url in enumerate(BAD_URLS)]
                + [("msg_lost", "no-such-job", receiver.url)],
            )
        good = start(client, "true", webhook=receiver.url)["job_id"]
        wait_until(lambda: any(good.encode() in got.body for got in receiver.got))

        def tried() -> Any:
            shown = client.get(f"/jobs/{job_id}/deliveries").json()["messages"]
            return shown if all(message["attempts"] for message in shown) else None

        wait_until(tried)
        for message, url in zip(tried(), BAD_URLS, strict=True):
            (attempt,) = message["attempts"][:1]
            assert attempt["error"], url
            assert attempt["next_attempt_at"] is not None
        assert server.process.poll() is None
        assert "Traceback" not in server.text
        with closing(sqlite3.connect(place.home / "jobs.db", timeout=20)) as database, database:
            lost = database.execute("SELECT status FROM outbox WHERE id = 'msg_lost'")
            assert lost.fetchone() == ("failed",)
            # A worker would be started for what is tried again soon.
            database.execute(
                "UPDATE outbox SET status = 'failed', next_attempt_at_ms = NULL, claimed_by = NULL "
                "WHERE status = 'pending'"
            )


def test_slow_receivers_of_one_owner_hold_up_no_other(place: Place) -> None:
    release = threading.Event()

    def hang(_: Received) -> tuple[int, dict[str, str]]:
        release.wait()
        return 204, {}

    with receiving(hang) as slow, receiving() as quick:
        place.declare(
            "jobs:\n"
            f"  slow: {{description: d., command: ['true'], webhook: '{slow.url}'}}\n"
            f"  quick: {{description: d., command: ['true'], webhook: '{quick.url}'}}\n"
        )
        ann, bob = named_token(place, "ann"), named_token(place, "bob")
        with (
            serving(place, "--only-declared", **LOCAL) as server,
            server.client(ann) as of_ann,
            server.client(bob) as of_bob,
        ):
            try:
                for _ in range(24):
                    job = of_ann.post("/jobs", json={"type": "slow", "wait_seconds": 30}).json()
                    assert job["status"] == "completed"
                wait_until(lambda: len(slow.got) == DELIVERIES_OF_OWNER)
                of_bob.post("/jobs", json={"type": "quick"})
                wait_until(lambda: quick.got)
                assert len(slow.got) == DELIVERIES_OF_OWNER
            finally:
                release.set()
            wait_until(lambda: len(slow.got) >= 24)


async def test_webhooks_that_make_no_sense_keep_no_job_from_ending(place: Place) -> None:
    hooks = [
        "x",
        5,
        None,
        [],
        {},
        {"url": 5},
        {"url": None, "on": 5},
        {"url": "https://a.example/"},
    ]
    for text in (json.dumps(hooks), '{"a": 1}', '"x"', "5", "[", "x"):
        async with sqlite_store(place.home / "jobs.db") as store:
            accepted = await store.create(new_job(webhooks=({"url": "https://b.example/"},)))
            with closing(sqlite3.connect(place.home / "jobs.db")) as database, database:
                database.execute("PRAGMA ignore_check_constraints = ON")
                database.execute(
                    "UPDATE jobs SET webhooks = ? WHERE id = ?", (text, accepted.job.id)
                )
            claimed = await store.claim(
                claimer="x", locality="machine-a", incarnation="home boot", capacity=9, now_ms=NOW
            )
            assert claimed is not None
            assert await store.settle(claimed.job, COMPLETED) is not None
            told = [message.url for message in await store.outbox.of_job(accepted.job.id)]
            assert told == (["https://a.example/"] if text == json.dumps(hooks) else [])


# -- on a clock of the test's own ----------------------------------------------------------------


async def test_a_failed_attempt_is_tried_again_for_a_day_and_then_given_up(place: Place) -> None:
    with receiving(lambda _: (500, {})) as receiver:
        async with sqlite_store(place.home / "jobs.db") as store:
            sender = Sender(place, store)
            job_id = await sender.job(receiver.url)
            while (due_ms := await store.outbox.next_due_ms()) is not None:
                sender.clock.time_ms = due_ms - 1
                assert await sender.webhooks.run_once() == 0
                sender.clock.time_ms = due_ms
                assert await sender.webhooks.run_once() == 1
            (message,) = await store.outbox.of_job(job_id)
        sender.owners.leave()
    assert message.status == "failed"
    assert [each.number for each in message.deliveries] == list(range(1, len(PAUSES_S) + 2))
    assert {each.error for each in message.deliveries} == {"The receiver answered 500."}
    assert 0.9 * DAY_MS < sender.clock.time_ms - NOW < 1.1 * DAY_MS
    assert len({got.id for got in receiver.got}) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(place: Place, status: int) -> None:
    with receiving() as secret:
        moved = {"location": secret.url}
        with receiving(lambda _: (status, moved)) as receiver:
            async with sqlite_store(place.home / "jobs.db") as store:
                sender = Sender(place, store)
                job_id = await sender.job(receiver.url)
                await sender.webhooks.run_once()
                (message,) = await store.outbox.of_job(job_id)
            sender.owners.leave()
    assert (message.status, message.deliveries[0].http_status) == ("pending", status)
    assert secret.got == []


async def test_a_receiver_that_is_gone_is_asked_no_more(place: Place) -> None:
    with receiving(lambda _: (410, {})) as receiver:
        async with sqlite_store(place.home / "jobs.db") as store:
            sender = Sender(place, store)
            job_id = await sender.job(receiver.url)
            await sender.webhooks.run_once()
            (message,) = await store.outbox.of_job(job_id)
        sender.owners.leave()
    assert (message.status, message.attempt) == ("failed", 1)


async def test_a_name_that_changes_its_address_gains_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look-up is good, the second bad, and there is one for each attempt only."""
    answers = iter(["127.0.0.1", "10.0.0.1", "10.0.0.1"])
    looked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **options: Any) -> Any:
        if host in (b"rebind.example", "rebind.example"):
            looked.append(address := next(answers))
            return real(address, *rest, **options)
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with receiving(lambda _: (500, {})) as receiver:
        url = receiver.url.replace("127.0.0.1", "rebind.example")
        async with sqlite_store(place.home / "jobs.db") as store:
            sender = Sender(place, store)
            job_id = await sender.job(url)
            await sender.webhooks.run_once()
            sender.clock.time_ms += 60_000
            await sender.webhooks.run_once()
            (message,) = await store.outbox.of_job(job_id)
        sender.owners.leave()
    first, second = message.deliveries
    assert (first.http_status, len(receiver.got)) == (500, 1)
    assert receiver.got[0].headers["host"].startswith("rebind.example:")
    assert "10.0.0.1" in str(second.error)
    assert len(looked) == 2


async def test_owners_with_fewer_deliveries_under_way_come_first(place: Place) -> None:
    async with sqlite_store(place.home / "jobs.db") as store:
        outbox, hook = store.outbox, {"url": "https://a.example/"}
        ids = {owner: [await ended_job(store, hook, owner=owner) for _ in range(count)]
               for owner, count in (("ann", 20), ("bob", 2), ("cid", 1))}  # fmt: skip
        owner_of = {job_id: owner for owner, some in ids.items() for job_id in some}
        claimed = []
        while (message := await outbox.claim(claimer="x", now_ms=NOW)) is not None:
            claimed.append(message)
        order = [owner_of[message.job_id] for message in claimed]
        assert sorted(order[:3]) == ["ann", "bob", "cid"]
        assert sorted(order[3:5]) == ["ann", "bob"]
        assert order[5:] == ["ann"] * (DELIVERIES_OF_OWNER - 2)
        # What waits for an end under way is not due: nobody need look for it.
        assert await outbox.next_due_ms() is None
        done = next(message for message in claimed if owner_of[message.job_id] == "ann")
        await outbox.give_back(done, claimer="somebody else")
        assert await outbox.next_due_ms() is None
        await outbox.give_back(done, claimer="x")
        assert await outbox.next_due_ms() == NOW
        again = await outbox.claim(claimer="y", now_ms=NOW)
        assert again is not None
        assert (again.id, again.attempt) == (done.id, 2)


async def test_two_processes_never_deliver_the_same_attempt(place: Place) -> None:
    with receiving() as receiver:
        async with (
            sqlite_store(place.home / "jobs.db") as store,
            sqlite_store(place.home / "jobs.db") as other,
        ):
            one, two = Sender(place, store), Sender(place, other, "two")
            for _ in range(20):
                await one.job(receiver.url)
            counts: list[int] = []

            async def deliver(sender: Sender) -> None:
                counts.append(await sender.webhooks.run_once())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(deliver, one)
                tasks.start_soon(deliver, two)
            one.owners.leave()
            two.owners.leave()
    assert sum(counts) == 20
    assert min(counts) > 0
    assert len({got.id for got in receiver.got}) == len(receiver.got) == 20


async def test_what_a_dead_process_had_claimed_is_delivered_by_another(place: Place) -> None:
    with receiving() as receiver:
        async with sqlite_store(place.home / "jobs.db") as store:
            sender = Sender(place, store)
            job_id = await sender.job(receiver.url)
            assert await store.outbox.claim(claimer="dead", now_ms=NOW) is not None
            assert await sender.webhooks.run_once() == 1
            (message,) = await store.outbox.of_job(job_id)
        sender.owners.leave()
    assert (message.status, [each.number for each in message.deliveries]) == ("delivered", [2])


async def test_a_late_record_of_a_lost_claim_is_void(place: Place) -> None:
    async with sqlite_store(place.home / "jobs.db") as store:
        sender = Sender(place, store)
        job_id = await sender.job("https://a.example/")
        message = await store.outbox.claim(claimer="slept", now_ms=NOW)
        assert message is not None
        await store.outbox.release("slept")
        assert await store.outbox.claim(claimer="other", now_ms=NOW) is not None
        delivery = Delivery(
            number=message.attempt, started_at_ms=NOW, finished_at_ms=NOW, http_status=200,
            error=None, next_attempt_at_ms=None,
        )  # fmt: skip
        assert not await store.outbox.record(message, delivery, claimer="slept")
        (kept,) = await store.outbox.of_job(job_id)
        assert (kept.status, kept.deliveries) == ("pending", ())
        sender.owners.leave()


async def test_the_message_is_written_with_the_end_or_not_at_all(place: Place) -> None:
    async with sqlite_store(place.home / "jobs.db") as store:
        with closing(sqlite3.connect(place.home / "jobs.db")) as database, database:
            database.execute(
                "CREATE TRIGGER fault BEFORE INSERT ON outbox "
                "BEGIN SELECT RAISE(ABORT, 'no room'); END"
            )
        with pytest.raises(Exception, match="no room"):
            await ended_job(store, {"url": "https://a.example/"})
        (job,) = await store.running()
        assert job.status is Status.RUNNING


async def test_retention_waits_for_what_is_still_to_be_told(place: Place) -> None:
    async with sqlite_store(place.home / "jobs.db") as store:
        waiting = await ended_job(store, {"url": "https://a.example/"})
        done = await ended_job(store)
        removed = await store.remove_old(before_ms=NOW + 1, keep=0, limit=10)
        assert list(removed) == [done]
        message = await store.outbox.claim(claimer="x", now_ms=NOW)
        assert message is not None
        delivery = Delivery(
            number=1, started_at_ms=NOW, finished_at_ms=NOW, http_status=410, error="gone",
            next_attempt_at_ms=None,
        )  # fmt: skip
        assert await store.outbox.record(message, delivery, claimer="x")
        assert list(await store.remove_old(before_ms=NOW + 1, keep=0, limit=10)) == [waiting]
        assert await store.outbox.of_job(waiting) == []
