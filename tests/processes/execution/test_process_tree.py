"""A process is known by more than its pid, and only that very process is signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_jobs.execution.launcher import identity, process_tree
from mcp_jobs.execution.launcher.identity import Stat, parse_stat, start_time
from tests.support import alive, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

on_linux = pytest.mark.skipif(not identity.ON_LINUX, reason="reads /proc")

_NUMBERS = st.integers(0, 2**31)
_REST = b" 34816 1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 "


@contextmanager
def _sleeper(**environ: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "1000"], env=environ) as process:
        try:
            yield process
        finally:
            process.kill()


def _stat(pid: int) -> Stat:
    found = process_tree.processes()[pid]
    assert found.pid == pid
    return found


# -- identity ------------------------------------------------------------------------------------


@given(
    _NUMBERS,
    st.binary(max_size=15),
    st.sampled_from("RSDTtZXxKWPI"),
    _NUMBERS,
    _NUMBERS,
    st.integers(0, 2**63),
)
@example(1, b"a) S 9 9 (b", "S", 2, 3, 4)
@example(1, b")", "Z", 2, 3, 4)
@example(1, b"two words", "R", 2, 3, 4)
@example(1, b"new\nline", "R", 2, 3, 4)
def test_a_stat_line_is_parsed_whatever_the_name_is(
    pid: int, name: bytes, state: str, parent: int, session: int, started: int
) -> None:
    fields = f"{state} {parent} 77 {session}".encode() + _REST + b"%d 0 0\n" % started
    found = parse_stat(b"%d (%s) %s" % (pid, name, fields))

    assert (found.pid, found.parent, found.session) == (pid, parent, session)
    assert (found.state, found.start_time) == (state, str(started))
    assert found.dead == (state in "ZXx")


@given(st.integers(0, 60))
def test_a_torn_stat_line_is_refused(size: int) -> None:
    whole = b"1 (sh) S 2 77 3" + _REST + b"4 0 0\n"
    with pytest.raises(ValueError, match=r"torn|invalid literal"):
        parse_stat(whole[: min(size, whole.index(b"4 0 0"))])


@given(st.binary(max_size=200))
def test_no_line_raises_anything_but_a_value_error(line: bytes) -> None:
    try:
        parse_stat(line)
    except ValueError:
        return
    assert line.count(b")") >= 1


@on_linux
@pytest.mark.parametrize("name", ["two words", "(((", ") S 1 1", "a)b(c"])
def test_a_real_process_with_an_odd_name_is_found(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.symlink_to(sys.executable)
    # The kernel takes the name from the file that is executed.
    script = tmp_path / "script"
    script.write_text("import time\ntime.sleep(1000)\n")
    with subprocess.Popen([str(program), "-I", "-S", str(script)]) as process:
        try:
            wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == f"{name}\n")
            found = _stat(process.pid)
            assert found.parent == os.getpid()
            assert found.start_time == start_time(process.pid)
        finally:
            process.kill()


def test_the_start_time_stays_the_same_and_ends_with_the_process() -> None:
    with _sleeper() as process:
        first, second = start_time(process.pid), start_time(process.pid)
        process.kill()
        process.wait()
        assert first is not None
        assert (second, start_time(process.pid)) == (first, None)


def test_the_boot_and_the_namespace_are_the_same_for_a_child() -> None:
    code = "from mcp_jobs.execution.launcher.identity import *; print(boot_id(), pid_namespace())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert child.stdout.split() == [identity.boot_id(), identity.pid_namespace()]
    assert identity.boot_id()


# -- the table -----------------------------------------------------------------------------------


@on_linux
def test_proc_and_ps_tell_the_same_of_a_family() -> None:
    code = "import os, time\nif os.fork() == 0: os.setsid()\ntime.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        try:
            wait_until(lambda: len(process_tree.descendants(process.pid)) == 1)
            (child,) = process_tree.descendants(process.pid)
            wait_until(lambda: _stat(child.pid).session == child.pid)
            by_proc, by_ps = process_tree._from_proc(), process_tree._from_ps()
            for pid in (process.pid, child.pid):
                assert by_ps[pid].pid == pid
                assert by_ps[pid].parent == by_proc[pid].parent
                assert by_ps[pid].session == by_proc[pid].session == pid
                assert by_ps[pid].dead == by_proc[pid].dead is False
                assert by_ps[pid].start_time
        finally:
            for pid in [child.pid, process.pid]:
                os.kill(pid, signal.SIGKILL)


@on_linux
def test_proc_and_ps_both_see_a_dead_child_as_dead() -> None:
    process = subprocess.Popen(["/bin/true"])
    try:
        wait_until(lambda: not alive(process.pid))
        assert process_tree._from_proc()[process.pid].dead
        assert process_tree._from_ps()[process.pid].dead
    finally:
        process.wait()


def test_ps_sees_this_process() -> None:
    table = process_tree._from_ps()
    found = table[os.getpid()]

    assert (found.parent, found.dead) == (os.getppid(), False)
    # And not itself, or whoever kills until nothing is left would never come to an end.
    assert [child for child in table.values() if child.parent == os.getpid()] == []


def test_descendants_come_after_their_parents(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    code = (
        "import os, time\n"
        f"path = {str(path)!r}\n"
        "for _ in range(4):\n"
        "    open(path, 'a').write(f'{os.getpid()}\\n')\n"
        "    if os.fork(): break\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            wait_until(lambda: path.exists() and path.read_text().count("\n") == 4)
            wait_until(lambda: len(process_tree.descendants(process.pid)) == 4)
            found = process_tree.descendants(process.pid)
        finally:
            process_tree.kill_all(lambda: process_tree.descendants(process.pid), reap=lambda: None)
            process.kill()

    pids = [int(line) for line in path.read_text().split()]
    assert [child.pid for child in found][:3] == pids[1:]
    assert [child.parent for child in found] == pids


def test_a_process_without_children_has_no_descendants() -> None:
    with _sleeper() as process:
        assert process_tree.descendants(process.pid) == []


def test_a_dead_process_is_no_descendant() -> None:
    process = subprocess.Popen(["/bin/true"])
    try:
        wait_until(lambda: not alive(process.pid))
        assert process.pid not in [found.pid for found in process_tree.descendants(os.getpid())]
    finally:
        process.wait()


def test_only_processes_with_the_whole_ids_of_job_and_home_are_marked() -> None:
    with (
        _sleeper(MCP_JOBS_JOB_ID="tree-1", MCP_JOBS_HOME_ID="a") as mine,
        _sleeper(MCP_JOBS_JOB_ID="tree-1", MCP_JOBS_HOME_ID="ab"),
        _sleeper(MCP_JOBS_JOB_ID="tree-1", OTHER="MCP_JOBS_HOME_ID=a") as homeless,
        _sleeper(MCP_JOBS_JOB_ID="tree-12", MCP_JOBS_HOME_ID="a"),
        _sleeper(OTHER="MCP_JOBS_JOB_ID=tree-1", MCP_JOBS_HOME_ID="a"),
        _sleeper(),
    ):
        wait_until(lambda: len(process_tree.marked("tree-1", ("a", "ab", None))) == 3)
        assert [found.pid for found in process_tree.marked("tree-1", ("a",))] == [mine.pid]
        # Older versions named no home.
        assert [found.pid for found in process_tree.marked("tree-1", (None,))] == [homeless.pid]


# -- signals -------------------------------------------------------------------------------------


def test_a_signal_reaches_its_process() -> None:
    with _sleeper() as process:
        assert process_tree.send(_stat(process.pid), signal.SIGTERM) is True
        assert process.wait() == -signal.SIGTERM


def test_a_process_with_another_start_time_is_not_signalled() -> None:
    with _sleeper() as process:
        found = _stat(process.pid)
        found.start_time += "1"
        assert process_tree.send(found, signal.SIGKILL) is False
        assert process.poll() is None


def test_a_process_that_is_gone_is_not_signalled() -> None:
    with _sleeper() as process:
        found = _stat(process.pid)
        process.kill()
        process.wait()
        assert process_tree.send(found, signal.SIGKILL) is False


@pytest.mark.parametrize("problem", ["absent", "refused"])
def test_without_pidfd_the_start_time_still_decides(
    monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    if problem == "absent":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    else:

        def refuse(pid: int) -> int:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    with _sleeper() as process:
        found, forged = _stat(process.pid), _stat(process.pid)
        forged.start_time += "1"
        assert process_tree.send(forged, signal.SIGKILL) is False
        assert process.poll() is None
        assert process_tree.send(found, signal.SIGKILL) is True
        assert process.wait() == -signal.SIGKILL


def test_killing_goes_on_until_nothing_new_is_found() -> None:
    with _sleeper() as first, _sleeper() as second:
        # The second shows up only once the first is gone, like a child that was just forked.
        def find() -> list[Stat]:
            process = first if alive(first.pid) else second
            return [_stat(process.pid)] if alive(process.pid) else []

        process_tree.kill_all(find, reap=lambda: (first.poll(), second.poll()))
        assert (first.returncode, second.returncode) == (-signal.SIGKILL, -signal.SIGKILL)


def test_killing_nothing_needs_two_empty_scans() -> None:
    scans: list[float] = []

    def find() -> list[Stat]:
        scans.append(time.monotonic())
        return []

    process_tree.kill_all(find, reap=lambda: None)
    assert len(scans) == 2
