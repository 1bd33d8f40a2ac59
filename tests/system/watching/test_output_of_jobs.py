"""Whatever a job prints is kept, capped and masked; what it is given is what was accepted."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.execution.incarnation import identify
from mcp_jobs.execution.launcher.spool import segment_name
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output.view import OutputView
from tests.support import Place, alive, open_client, python, run, until
from tests.system.station import (
    Station,
    gate,
    pids_in,
    release,
    server,
    shell,
    station,
)

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
SECRET = "hunter2-hunter2"  # noqa: S105 - made up

_OF_THE_C_LIBRARY = 0b11 << 31
"""Signals 32 and 33: the C library keeps them for itself, so that no program can reset them."""


# -- what comes out ------------------------------------------------------------------------------


async def test_every_byte_value_is_kept_as_it_was_printed(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run(python("import os; os.write(1, bytes(range(256)) * 9)"))

        assert job["status"] == "completed"
        assert jobs.raw(job["job_id"]) == bytes(range(256)) * 9
        assert "\0" not in job["output"]["text"]


async def test_a_line_of_ten_megabytes_is_kept_whole_and_shown_short(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run("head -c 10485760 /dev/zero | tr '\\0' x; echo end")

        assert job["status"] == "completed"
        assert jobs.raw(job["job_id"]) == b"x" * (10 * MIB) + b"end\n"
        assert len(job["output"]["text"].encode()) <= 16 << 10
        assert job["output"]["text"].endswith("end\n")
        assert job["output"]["truncated"] is True


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        pytest.param(r"a\0b\n", "ab\n", id="NUL"),
        pytest.param(r"\033[31mred\033[0m\n", "red\n", id="ANSI"),
        pytest.param(r"10%%\r50%%\rdone\n", "done\n", id="carriage returns"),
        pytest.param(r"\377\376ok\n", "\ufffd\ufffdok\n", id="invalid UTF-8"),
        pytest.param(r"no newline", "no newline", id="no newline at the end"),
    ],
)
async def test_odd_bytes_are_readable_in_the_reply(place: Place, printed: str, shown: str) -> None:
    async with station(place) as jobs:
        job = await jobs.run(f"printf '{printed}'")

        assert job["status"] == "completed"
        assert job["output"]["text"] == shown
        assert job["output"]["bytes_total"] == len(jobs.raw(job["job_id"]))


async def test_a_flood_on_stderr_with_a_silent_stdout_is_read_to_its_end(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run("head -c 5242880 /dev/zero >&2; echo last >&2; exit 4")

        assert (job["reason"], job["exit_code"]) == ("exit_code", 4)
        assert jobs.raw(job["job_id"]) == bytes(5 * MIB) + b"last\n"


async def test_a_job_that_closes_its_output_runs_on_to_its_own_end(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start("echo before; exec >&- 2>&-; : > closed; read x < gate; exit 3")
        await until((place.project / "closed").exists)
        assert (await jobs.check(job_id))["status"] == "running"
        await release(path)
        job = await jobs.ended(job_id)

    assert (job["status"], job["exit_code"]) == ("failed", 3)
    assert job["output"]["text"] == "before\n"


async def test_tests_that_failed_behind_a_pipe_are_told_in_the_next_step(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run("echo '== 2 failed, 1 passed, 1 error in 0.10s ==' | tail -n 5")

        assert job["status"] == "completed"
        assert job["result"]["tests"]["failed"] == 2
        assert "exit code 0, but 3 tests failed" in job["next_step"]


async def test_the_output_of_a_running_job_can_be_read(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start("echo first; read x < gate; echo second")
        early = await jobs.seen(job_id, lambda job: job["output"]["bytes_total"])
        assert early["output"]["text"] == "first\n"
        await release(path)
        await jobs.ended(job_id)
        late = await jobs.check(job_id, after=early["output"]["next_cursor"])

    assert late["output"]["text"] == "second\n"


async def test_what_a_background_leftover_prints_in_the_drain_is_kept(place: Place) -> None:
    # The subshell sees its parent gone only when the runner has collected the exit status.
    late = "(while kill -0 $$ 2>/dev/null; do :; done; echo late) & echo main"
    async with station(place) as jobs:
        job = await jobs.run(late)

    assert job["status"] == "completed"
    assert job["output"]["text"] == "main\nlate\n"


async def test_a_background_leftover_is_gone_when_the_job_has_ended(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run("trap '' TERM; sleep 1000 & echo $! > pid; echo done; exit 5")
        pids = await pids_in(place.project / "pid")

        assert not alive(pids[0])
        assert (job["exit_code"], job["output"]["text"]) == (5, "done\n")


# -- the cap -------------------------------------------------------------------------------------

_BIG = "import os\nfor i in range(100): os.write(1, b'%07d\\n' % i * 131072)"
"""100 MiB in which every place can be told."""


def _expected(start: int, end: int) -> bytes:
    blocks = range(start // MIB, -(-end // MIB))
    data = b"".join(b"%07d\n" % block * 131072 for block in blocks)
    return data[start % MIB : start % MIB + end - start]


async def test_output_over_the_cap_keeps_head_and_tail_exactly(place: Place) -> None:
    async with station(place, output_cap_bytes=MIB) as jobs:
        job = await jobs.run(_writer(place, _BIG))
        view = OutputView(SpoolFiles(jobs.directory(job["job_id"]) / "output"))

    assert job["output"]["bytes_total"] == 100 * MIB
    assert view.runs[0][0] == 0
    assert view.runs[-1][1] == 100 * MIB
    assert len(view.runs) == 2
    for first, last in view.runs:
        assert last - first > MIB // 3
        assert view.read(first, last) == _expected(first, last)
    assert job["output"]["dropped_bytes"] == 100 * MIB - view.kept_bytes


async def test_the_disk_use_of_output_stays_within_the_cap(place: Place) -> None:
    async with station(place, output_cap_bytes=MIB) as jobs:
        job = await jobs.run(_writer(place, _BIG))
        files = list((jobs.directory(job["job_id"]) / "output").iterdir())

    assert sum(path.stat().st_size for path in files) <= MIB
    # Blocks are counted in full, so each file may take up to one more.
    assert sum(path.stat().st_blocks * 512 for path in files) <= MIB + 4096 * len(files)


async def test_every_cursor_stays_valid_across_the_dropped_part(place: Place) -> None:
    async with station(place, output_cap_bytes=1 << 16, reply_limit_bytes=1 << 14) as jobs:
        job = await jobs.run(_writer(place, _BIG))
        head, tail = OutputView(SpoolFiles(jobs.directory(job["job_id"]) / "output")).runs
        inside = await jobs.check(job["job_id"], after=50 * MIB)
        cursor, shown = 0, ""
        while cursor < 100 * MIB:
            part = (await jobs.check(job["job_id"], after=cursor))["output"]
            assert part["next_cursor"] > cursor
            cursor, shown = part["next_cursor"], shown + part["text"]

    text, dropped = inside["output"]["text"], str(tail[0] - 50 * MIB)
    assert dropped in text.replace(",", "").splitlines()[0]
    assert inside["output"]["first_cursor"] >= 50 * MIB
    assert cursor == 100 * MIB
    kept = re.sub(r"(?m)^.*dropped.*\n", "", shown).encode()
    assert kept.startswith(_expected(0, head[1])[:-8])
    assert kept.endswith(_expected(tail[0], tail[1])[8:])


def _writer(place: Place, code: str) -> str:
    (place.project / "writer.py").write_text(code)
    return python("exec(open('writer.py').read())")


async def test_a_segment_that_vanishes_while_it_is_looked_at_disturbs_nobody(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start("echo hello; read x < gate")
        await jobs.seen(job_id, lambda job: job["output"]["bytes_total"])
        # Listed, and gone when it is asked for its size.
        vanished = jobs.directory(job_id) / "output" / segment_name(1 << 20, 0)
        vanished.symlink_to("nowhere")
        await jobs.core.executor.follower.tick()
        other = await jobs.run("echo fine")
        vanished.unlink()
        await release(path)
        job = await jobs.ended(job_id)

    assert (other["status"], job["status"]) == ("completed", "completed")


# -- what goes in --------------------------------------------------------------------------------


async def test_stdin_of_a_job_is_empty(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run("readlink /proc/self/fd/0; cat; echo end")

    assert job["output"]["text"] == "/dev/null\nend\n"


async def test_a_job_knows_its_id_its_home_and_its_progress_file(place: Place) -> None:
    known = 'echo "$MCP_JOBS_JOB_ID $MCP_JOBS_HOME_ID $MCP_JOBS_PROGRESS"'
    async with station(place) as jobs:
        job = await jobs.run(f"{known}; env | grep -c ^MCP_JOBS_")
        progress = jobs.directory(job["job_id"]) / "progress"
        home_id = identify(place.home).home_id

    assert job["output"]["text"] == f"{job['job_id']} {home_id} {progress}\n3\n"


async def test_a_job_has_a_session_of_its_own_and_default_signals(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run("grep -E 'Sig(Blk|Ign)' /proc/self/status; ps -o sid= -p $$; echo $$")

    *masks, session, pid = job["output"]["text"].split("\n")[:-1]
    assert [int(mask.split()[1], 16) & ~_OF_THE_C_LIBRARY for mask in masks] == [0, 0]
    assert int(session) == int(pid)


async def test_a_job_runs_as_the_server_that_accepted_it_would(place: Place) -> None:
    tools = place.root / "tools"
    tools.mkdir()
    (tools / "which-server").write_text("#!/bin/sh\necho the accepting one\n")
    (tools / "which-server").chmod(0o755)
    command = "which-server; pwd; umask; echo $COLOUR"
    path = f"{tools}:{os.defpath}"
    before = os.umask(0o027)
    try:
        with server(place, shell(place, command, delay_seconds=1), PATH=path, COLOUR="blue") as a:
            a.kill()
    finally:
        os.umask(before)
    async with station(place) as jobs:
        job = await jobs.ended(a.job_ids[0])

    assert job["output"]["text"] == f"the accepting one\n{place.project}\n0027\nblue\n"


async def test_env_adds_to_and_overrides_the_server_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOUR", "blue")
    monkeypatch.setenv("SHAPE", "round")
    async with station(place) as jobs:
        job = await jobs.run("echo $COLOUR $SHAPE $NEW", env={"COLOUR": "red", "NEW": "yes"})

    assert job["output"]["text"] == "red round yes\n"


# -- secrets -------------------------------------------------------------------------------------


async def test_a_secret_is_masked_on_the_disk(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run("echo a${API_TOKEN}b >&2", env={"API_TOKEN": SECRET})

        assert job["output"]["text"] == "a[masked]b\n"
        assert _files_with(jobs, SECRET) == []


async def test_a_secret_is_masked_across_chunk_borders(place: Place) -> None:
    # The second half is written when the runner has taken the first half out of the pipe.
    halves = (
        "import fcntl, os, termios\n"
        "secret = os.environ['API_TOKEN'].encode()\n"
        "for place in range(1, len(secret)):\n"
        "    os.write(1, b'<' + secret[:place])\n"
        "    while any(fcntl.ioctl(1, termios.FIONREAD, bytes(4))): pass\n"
        "    os.write(1, secret[place:] + b'>')\n"
    )
    async with station(place) as jobs:
        job = await jobs.run(_writer(place, halves), env={"API_TOKEN": SECRET})

        assert jobs.raw(job["job_id"]) == b"<[masked]>" * (len(SECRET) - 1)


async def test_a_secret_in_a_progress_message_is_masked(place: Place) -> None:
    report = (
        'echo "{\\"percent\\": 50, \\"message\\": \\"with $API_TOKEN\\"}" >> $MCP_JOBS_PROGRESS'
    )
    async with station(place) as jobs:
        job = await jobs.run(report, env={"API_TOKEN": SECRET})

    assert job["progress"]["message"] == "with [masked]"


async def test_a_value_under_six_bytes_is_not_masked(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run(
            "echo $A_TOKEN $B_TOKEN", env={"A_TOKEN": "12345", "B_TOKEN": "123456"}
        )

    assert job["output"]["text"] == "12345 [masked]\n"


async def test_what_looks_secret_in_the_server_environment_does_not_reach_jobs(
    place: Place,
) -> None:
    secrets = {"DEPLOY_TOKEN": SECRET, "db_password": SECRET, "HARMLESS": "yes"}
    async with open_client(place, env=secrets) as client:
        job = await run(client, "echo ${DEPLOY_TOKEN-unset} ${db_password-unset} $HARMLESS")

    assert job["output"]["text"] == "unset unset yes\n"


async def test_a_secret_that_pass_env_names_reaches_jobs_and_is_masked(place: Place) -> None:
    secrets = {"DEPLOY_TOKEN": SECRET, "OTHER_TOKEN": SECRET, "MCP_JOBS_PASS_ENV": "A*, DEPLOY_*"}
    async with open_client(place, env=secrets) as client:
        job = await run(client, "echo ${#DEPLOY_TOKEN} $DEPLOY_TOKEN ${OTHER_TOKEN-unset}")

    assert job["output"]["text"] == f"{len(SECRET)} [masked] unset\n"


# -- files ---------------------------------------------------------------------------------------


async def test_files_are_private_whatever_the_umask_is(place: Place) -> None:
    before = os.umask(0)
    try:
        async with station(place) as jobs:
            path = await gate(place)
            job_id = await jobs.start("echo hello; read x < gate", env={"API_TOKEN": SECRET})
            await jobs.seen(job_id, lambda job: job["output"]["bytes_total"])
            running = _open_to_others(place.home)
            await release(path)
            await jobs.ended(job_id)
            ended = _open_to_others(place.home)
    finally:
        os.umask(before)

    assert running == []
    assert ended == []
    assert stat.S_IMODE(place.home.stat().st_mode) == 0o700


async def test_the_stored_environment_is_private_and_gone_after_the_end(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start("read x < gate", env={"API_TOKEN": SECRET}, delay_seconds=0.2)
        stored = jobs.directory(job_id) / "env"
        assert stat.S_IMODE(stored.stat().st_mode) == 0o600
        assert SECRET in stored.read_text()
        path = await gate(place)
        await until(lambda: not stored.exists())
        await release(path)
        await jobs.ended(job_id)

        assert await jobs.core.store.launch_of(job_id) is None
        assert _files_with(jobs, SECRET) == []


async def test_an_ended_job_leaves_only_what_can_be_read(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run("echo hello; echo '{\"percent\": 5}' > $MCP_JOBS_PROGRESS")
        directory = jobs.directory(job["job_id"])
        await until(lambda: sorted(os.listdir(directory)) == ["output", "progress"])


async def test_no_process_is_left_of_a_job_that_ended_by_itself(place: Place) -> None:
    tree = (
        "import os, time\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        open('pids', 'a').write(f'{os.getpid()}\\n')\n"
        "        time.sleep(1000)\n"
        "while not os.path.exists('pids') or open('pids').read().count('\\n') < 3: pass\n"
    )
    async with station(place) as jobs:
        job = await jobs.run(_writer(place, tree))
        pids = await pids_in(place.project / "pids", 3)

        assert [pid for pid in pids if alive(pid)] == []
    assert (job["status"], len(pids)) == ("completed", 3)


def _files_with(jobs: Station, text: str) -> list[Path]:
    """Return which files hold a text; the log of the database is overwritten later."""
    files = [p for p in jobs.place.home.rglob("*") if p.is_file() and p.name != "jobs.db-wal"]
    return [path for path in files if text.encode() in path.read_bytes()]


def _open_to_others(home: Path) -> list[str]:
    paths = [path for path in home.rglob("*") if path.name != "progress"]
    return [f"{path}: {path.stat().st_mode:o}" for path in paths if path.stat().st_mode & 0o077]
