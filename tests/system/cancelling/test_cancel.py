"""A cancelled job has no process left, whatever it does; one that ended keeps its own end."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from mcp_jobs.service.assembly import LOCAL_OWNER
from tests.stores import open_store
from tests.support import Place, alive, python, until
from tests.system.station import (
    all_gone,
    gate,
    identity_of,
    launcher,
    pids_in,
    release,
    server,
    shell,
    station,
)

STUBBORN = "trap '' TERM; echo $$ >> pids; while :; do sleep 1000; done"
CANCELLED = ("cancelled", "cancelled_by_user")


async def test_a_job_that_ignores_term_is_killed_after_the_grace(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start(STUBBORN)
        pids = await pids_in(place.project / "pids")
        job = await jobs.cancel(job_id, grace_seconds=0.2)

        assert (job["status"], job["reason"]) == CANCELLED
        assert not alive(pids[0])


async def test_a_job_that_heeds_term_may_end_in_its_own_way(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start(
            python(
                "import signal, sys\n"
                "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('clean', flush=True)))\n"
                "print('ready', flush=True)\n"
                "while True: signal.pause()"
            )
        )
        await jobs.seen(job_id, lambda job: job["output"]["bytes_total"])
        job = await jobs.cancel(job_id, grace_seconds=30)
        shown = await jobs.check(job_id)

    # Exit code 0, and still not a success: nobody let it finish.
    assert (job["status"], job["reason"], job["exit_code"]) == (*CANCELLED, 0)
    assert shown["output"]["text"] == "ready\nclean\n"


async def test_grace_zero_kills_at_once(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start(STUBBORN)
        pids = await pids_in(place.project / "pids")
        job = await jobs.cancel(job_id, grace_seconds=0)

        assert (job["status"], job["reason"]) == CANCELLED
        assert not alive(pids[0])


async def test_a_later_cancel_with_less_grace_is_heeded(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start(STUBBORN)
        pids = await pids_in(place.project / "pids")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.cancel, job_id, 300)
            await jobs.seen(job_id, lambda job: job["cancel_requested"])
            await until((jobs.directory(job_id) / "stop").is_symlink)
            assert alive(pids[0])
            job = await jobs.cancel(job_id, grace_seconds=0)

        assert (job["status"], job["reason"]) == CANCELLED
        assert not alive(pids[0])


async def test_a_host_that_blocks_signals_makes_no_cancel_unheard(place: Place) -> None:
    # The launcher inherits the mask, and no output and no limit would wake its runner.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO, signal.SIGCHLD})
    try:
        async with station(place) as jobs:
            job_id = await jobs.start("echo $$ > pids; exec sleep 1000")
            await pids_in(place.project / "pids")
            job = await jobs.cancel(job_id)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    assert (job["status"], job["reason"]) == CANCELLED


# -- trees ---------------------------------------------------------------------------------------

_SETSID = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
    open("pids", "a").write(f"{os.getpid()}\\n")
while True: signal.pause()
"""

_DAEMON = """
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 100)
        open("pids", "a").write(f"{os.getpid()}\\n")
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os._exit(0)
os.wait()
open("pids", "a").write(f"{os.getpid()}\\n")
while True: signal.pause()
"""

_RESPAWNER = """
import os, signal
def again(*_):
    global left
    left -= 1
    if left and os.fork():
        os._exit(0)
    open("pids", "a").write(f"{os.getpid()}\\n")
left = 30
signal.signal(signal.SIGTERM, again)
for _ in range(2):
    os.fork()
open("pids", "a").write(f"{os.getpid()}\\n")
while True: signal.pause()
"""


@pytest.mark.parametrize(
    ("code", "count"),
    [
        pytest.param(_SETSID, 6, id="grandchildren with sessions of their own"),
        pytest.param(_DAEMON, 2, id="a double-forked daemon without environment"),
        pytest.param(_RESPAWNER, 4, id="processes that fork a replacement on TERM"),
    ],
)
async def test_nothing_of_the_tree_outlives_a_cancel(place: Place, code: str, count: int) -> None:
    (place.project / "tree.py").write_text(code)
    async with station(place) as jobs:
        job_id = await jobs.start(python("exec(open('tree.py').read())"))
        await pids_in(place.project / "pids", count)
        job = await jobs.cancel(job_id, grace_seconds=0.3)
        pids = await pids_in(place.project / "pids", count)

        assert (job["status"], job["reason"]) == CANCELLED
        assert [pid for pid in pids if alive(pid)] == []


async def test_a_stopped_job_gets_its_chance_to_end(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start(
            "trap 'echo got it; exit 9' TERM; echo $$ > pids; while :; do :; done"
        )
        (pid,) = await pids_in(place.project / "pids")
        os.kill(pid, signal.SIGSTOP)
        job = await jobs.cancel(job_id, grace_seconds=30)
        shown = await jobs.check(job_id)

    assert (job["status"], job["reason"], job["exit_code"]) == (*CANCELLED, 9)
    assert shown["output"]["text"] == "got it\n"


async def test_cancelled_is_never_seen_while_a_process_of_the_job_lives(place: Place) -> None:
    (place.project / "tree.py").write_text(_SETSID)
    async with station(place) as jobs:
        job_id = await jobs.start(python("exec(open('tree.py').read())"))
        pids = await pids_in(place.project / "pids", 6)
        seen: list[tuple[str, list[int]]] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.cancel, job_id, 0.3)
            while not seen or seen[-1][0] == "running":
                # The status first: what it says must hold from then on.
                status = (await jobs.check(job_id))["status"]
                seen.append((status, [pid for pid in pids if alive(pid)]))

    assert seen[0][1] != []
    assert seen[-1] == ("cancelled", [])


# -- when nothing runs ---------------------------------------------------------------------------


async def test_a_pending_job_that_is_cancelled_never_runs(place: Place) -> None:
    async with station(place, capacity=1) as jobs:
        path = await gate(place)
        first = await jobs.start("read x < gate")
        pending = await jobs.start("touch ran")
        job = await jobs.cancel(pending)
        assert (job["status"], job["reason"], job["started_at"]) == (*CANCELLED, None)
        await release(path)
        await jobs.ended(first)
        await jobs.run("true")

    assert not (place.project / "ran").exists()


async def test_a_delayed_job_that_is_cancelled_never_runs(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start("touch ran", delay_seconds=3600)
        job = await jobs.cancel(job_id)

    assert (job["status"], job["reason"]) == CANCELLED


async def test_a_retrying_job_that_is_cancelled_does_not_run_again(place: Place) -> None:
    async with station(place, retry_base_seconds=3600.0) as jobs:
        job_id = await jobs.start("exit 7", max_retries=3)
        waiting = await jobs.reaches(job_id, "retrying")
        assert waiting["next_attempt_at"] > waiting["started_at"]
        job = await jobs.cancel(job_id)

    assert (job["status"], job["reason"], job["attempt"]) == (*CANCELLED, 1)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_the_attempt_before_a_retry_that_never_came_is_shown(
    place: Place, cancelled: bool
) -> None:
    async with station(place, retry_base_seconds=3600.0) as jobs:
        job_id = await jobs.start("exit 7", max_retries=3)
        shown = await jobs.reaches(job_id, "retrying")
        await jobs.cancel(job_id)
        if cancelled:
            shown = await jobs.check(job_id)

    assert [attempt["exit_code"] for attempt in shown["attempts"]] == [7]


@pytest.mark.parametrize("state", ["delayed", "retrying"])
async def test_the_stored_environment_is_gone_after_a_cancel(place: Place, state: str) -> None:
    async with station(place, retry_base_seconds=3600.0) as jobs:
        if state == "delayed":
            job_id = await jobs.start("true", delay_seconds=3600)
        else:
            job_id = await jobs.start("exit 7", max_retries=3)
            await jobs.reaches(job_id, "retrying")
        assert await jobs.core.store.launch_of(job_id) is not None
        await jobs.cancel(job_id)

        assert await jobs.core.store.launch_of(job_id) is None
        assert not (jobs.directory(job_id) / "env").exists()


async def test_a_cancel_between_claim_and_start_lets_nothing_run(place: Place) -> None:
    async with station(place) as jobs:
        await jobs.run("true")
        first = await jobs.start("echo $$ > pids; sleep 1000")
        await pids_in(place.project / "pids")
        pid = launcher(place)
        os.kill(pid, signal.SIGSTOP)
        try:
            job_id = await jobs.start("touch ran")
            await jobs.reaches(job_id, "running")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(jobs.cancel, job_id)
                await until((jobs.directory(job_id) / "stop").is_symlink)
                os.kill(pid, signal.SIGCONT)
        finally:
            os.kill(pid, signal.SIGCONT)
        job = await jobs.ended(job_id)
        await jobs.cancel(first, grace_seconds=0)

    assert (job["status"], job["reason"]) == CANCELLED
    assert not (place.project / "ran").exists()


# -- races ---------------------------------------------------------------------------------------


async def test_cancelling_twice_is_the_same_as_once(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start("sleep 1000")
        await jobs.reaches(job_id, "running")
        first = await jobs.cancel(job_id)
        second = await jobs.cancel(job_id)

    assert (first["status"], first["reason"]) == CANCELLED
    changing = {"next_step"}
    assert {k: v for k, v in first.items() if k not in changing} == {
        k: v for k, v in second.items() if k not in changing
    }


async def test_many_cancels_at_once_all_succeed(place: Place) -> None:
    async with station(place) as jobs:
        for _ in range(3):
            job_id = await jobs.start(STUBBORN)
            await pids_in(place.project / "pids")
            ends: list[str] = []

            async def cancel(job_id: str = job_id, ends: list[str] = ends) -> None:
                ends.append((await jobs.cancel(job_id, grace_seconds=0.1))["status"])

            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(cancel)

            assert ends == ["cancelled"] * 20
            (place.project / "pids").unlink()


@pytest.mark.parametrize(("command", "status"), [("true", "completed"), ("exit 3", "failed")])
async def test_cancelling_an_ended_job_changes_nothing(
    place: Place, command: str, status: str
) -> None:
    async with station(place) as jobs:
        before = await jobs.run(command)
        answer = await jobs.cancel(before["job_id"])
        after = await jobs.check(before["job_id"])

    assert answer["status"] == status
    assert status in answer["next_step"]
    assert after == before


@pytest.mark.parametrize(
    ("code", "status", "reason"), [(0, "completed", None), (3, "failed", "exit_code")]
)
async def test_a_job_that_ended_just_before_keeps_its_own_end(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    status: str,
    reason: str | None,
) -> None:
    # A stopped runner would be woken by the order, and might end the job before it is stored.
    monkeypatch.setattr("mcp_jobs.execution.launcher.stop_notice.wake", lambda _: False)
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start(f"read x < gate; exit {code}")
        directory = jobs.directory(job_id)
        identity = await identity_of(directory)
        runner, pid = identity["pid"], identity["job_pid"]
        os.kill(runner, signal.SIGSTOP)
        await release(path)
        await all_gone([pid])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.cancel, job_id)
            await jobs.seen(job_id, lambda job: job["cancel_requested"])
            os.kill(runner, signal.SIGCONT)
        job = await jobs.check(job_id)

    assert (job["status"], job["reason"], job["exit_code"]) == (status, reason, code)
    assert job["cancel_requested"] is True


async def test_a_failure_that_a_cancel_met_is_not_retried(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.execution.launcher.stop_notice.wake", lambda _: False)
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start("echo >> runs; read x < gate; exit 3", max_retries=5)
        directory = jobs.directory(job_id)
        identity = await identity_of(directory)
        os.kill(identity["pid"], signal.SIGSTOP)
        await release(path)
        await all_gone([identity["job_pid"]])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.cancel, job_id)
            await jobs.seen(job_id, lambda job: job["cancel_requested"])
            os.kill(identity["pid"], signal.SIGCONT)
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 3)
    assert (place.project / "runs").read_text() == "\n"


# -- from elsewhere ------------------------------------------------------------------------------


async def test_another_server_can_cancel(place: Place) -> None:
    with server(place, shell(place, STUBBORN)) as other:
        async with station(place) as jobs:
            pids = await pids_in(place.project / "pids")
            job = await jobs.cancel(other.job_ids[0], grace_seconds=0.1)

            assert (job["status"], job["reason"]) == CANCELLED
            assert not alive(pids[0])
        assert other.process.poll() is None


async def test_a_job_whose_server_is_gone_can_be_cancelled(place: Place) -> None:
    with server(place, shell(place, STUBBORN)) as other:
        pids = await pids_in(place.project / "pids")
        other.kill()
    async with station(place) as jobs:
        job = await jobs.cancel(other.job_ids[0], grace_seconds=0.1)

        assert (job["status"], job["reason"]) == CANCELLED
        assert not alive(pids[0])


async def test_a_cancel_whose_giver_died_before_the_order_is_carried_out(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start("echo $$ > pids; sleep 1000")
        pids = await pids_in(place.project / "pids")
        # The row is marked, and then the canceller was killed.
        store = await open_store(place.home / "jobs.db")
        await store.request_cancel(LOCAL_OWNER, job_id, now_ms=1)
        await store.close()
        job = await jobs.ended(job_id)

    await all_gone(pids)
    assert (job["status"], job["reason"]) == CANCELLED


async def test_a_cancel_that_the_server_does_not_live_to_see_is_carried_out(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start("trap '' TERM; echo $$ > pids; while :; do sleep 1; done")
        pids = await pids_in(place.project / "pids")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.cancel, job_id, 0.5)
            await until((jobs.directory(job_id) / "stop").is_symlink)
            tasks.cancel_scope.cancel()
    await all_gone(pids)
    async with station(place) as jobs:
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"]) == CANCELLED
