"""Find and signal every process of a job.

On Linux the runner and the launcher are child subreapers, so a double-forked grandchild with a
session of its own is still a descendant of the runner. Where that does not reach (the runner was
killed; macOS) a process is known by `MCP_JOBS_JOB_ID` in its initial environment, and the home that
it belongs to by `MCP_JOBS_HOME_ID`: a copy of a home has jobs of the same ids.

A signal goes out through a pidfd, opened and then checked against the start time, so that a pid
which was reused in between is never hit.
"""

from __future__ import annotations

import os
import signal
import time

from mcp_jobs.execution.launcher.identity import ON_LINUX, Stat, ask_program, read_stat, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

JOB_ID_VARIABLE = "MCP_JOBS_JOB_ID"
HOME_ID_VARIABLE = "MCP_JOBS_HOME_ID"

_PR_SET_CHILD_SUBREAPER = 36
_LAUNCHER = b"from mcp_jobs.execution.launcher.fork_server import main"
"""Stands in the command line of a launcher and of the runners, which are its forks."""

_STOPPED = "T"
_EMPTY_SCANS = 2
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.25


def become_subreaper() -> bool:
    """Adopt every orphan among this process's descendants (prctl(2)); False where there is none."""
    if not ON_LINUX:
        return False
    # Imported here: servers need the rest of this module, and start the sooner without it.
    import ctypes  # noqa: PLC0415

    status: int = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return status == 0


def processes() -> dict[int, Stat]:
    """Return every process that can be seen, by pid."""
    return _from_proc() if ON_LINUX else _from_ps()


def descendants(root: int) -> list[Stat]:
    """Return the living processes below `root`, parents before children."""
    table = processes()
    children: dict[int, list[Stat]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Stat] = []
    level = children.get(root, [])
    while level:
        found += level
        level = [child for process in level for child in children.get(process.pid, ())]
    return [process for process in found if not process.dead]


def marked(job_id: str, home_ids: Collection[str | None]) -> list[Stat]:
    """Return the living processes of this user that were started for this job of these homes.

    The home None stands for the processes of older versions, which name none.
    """
    wanted = f"{JOB_ID_VARIABLE}={job_id}".encode()
    homes = {None if home_id is None else home_id.encode() for home_id in home_ids}
    found: list[Stat] = []
    for process in processes().values():
        environment = () if process.dead else _environment(process.pid)
        if wanted in environment and _home_in(environment) in homes:
            found.append(process)
    return found


def job_around(pid: int) -> str | None:
    """Return the id of the job that a process runs in; None when it runs in none.

    It runs in a job if it or one of its ancestors was started with a job's id, or came from a
    launcher: then with a cleared environment, and the id is empty.
    """
    table = processes()
    seen: set[int] = set()
    while pid > 0 and pid not in seen:
        seen.add(pid)
        for variable in _environment(pid):
            name, _, value = variable.partition(b"=")
            if name == JOB_ID_VARIABLE.encode():
                return value.decode(errors="replace")
        if _is_launcher(pid):
            return ""
        process = table.get(pid)
        pid = 0 if process is None else process.parent
    return None


def send(process: Stat, number: int) -> bool:
    """Signal exactly this process; False when it is gone (also when its pid is somebody else's)."""
    try:
        if not hasattr(os, "pidfd_open"):
            return _send_by_pid(process, number)
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except OSError:
        # Kernels before 5.3 and some sandboxes have no pidfd.
        return _send_by_pid(process, number)
    try:
        if start_time(process.pid) != process.start_time:
            return False
        signal.pidfd_send_signal(fd, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(fd)
    return True


def resume(pid: object, started: object) -> bool:
    """Let a process go on that was stopped (SIGSTOP); False when it was not, or is another one."""
    try:
        process = read_stat(str(pid)) if ON_LINUX else processes()[int(str(pid))]
    except (OSError, ValueError, KeyError):
        return False
    if process.state != _STOPPED or process.start_time != started:
        return False
    return send(process, signal.SIGCONT)


def kill_all(
    find: Callable[[], Collection[Stat]],
    *,
    reap: Callable[[], object],
    patience_s: float | None = None,
) -> bool:
    """Kill what `find` finds until two scans in a row find nothing; True says that it came to that.

    Everything is stopped first and searched again until no new process shows up, so that a
    program that forks as fast as it is killed cannot win. `reap` collects exit statuses between
    scans. A process that cannot be ended (uninterruptible sleep, another user's) keeps this
    waiting, for ever or for `patience_s`, since saying "gone" would be a lie.
    """
    empty_scans = 0
    pause_s = _FIRST_PAUSE_S
    began_s = time.monotonic()
    while empty_scans < _EMPTY_SCANS:
        if patience_s is not None and time.monotonic() - began_s > patience_s:
            return False
        found = _stop_all(find)
        for process in found.values():
            send(process, signal.SIGKILL)
        reap()
        empty_scans = 0 if found else empty_scans + 1
        if found:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            reap()
    return True


def _stop_all(find: Callable[[], Collection[Stat]]) -> dict[tuple[int, str], Stat]:
    stopped: dict[tuple[int, str], Stat] = {}
    while True:
        new = [p for p in find() if (p.pid, p.start_time) not in stopped]
        if not new:
            return stopped
        for process in new:
            send(process, signal.SIGSTOP)
            stopped[process.pid, process.start_time] = process


def _send_by_pid(process: Stat, number: int) -> bool:
    if start_time(process.pid) != process.start_time:
        return False
    try:
        os.kill(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _from_proc() -> dict[int, Stat]:
    table: dict[int, Stat] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            process = read_stat(name)
        except (OSError, ValueError):
            continue
        table[process.pid] = process
    return table


def _from_ps() -> dict[int, Stat]:
    """Read the table from ps(1), for systems without /proc. `sess` is not portable, `pgid` is."""
    own_pid, listing = ask_program("/bin/ps", "-axo", "pid=,ppid=,pgid=,stat=,lstart=")
    table: dict[int, Stat] = {}
    for line in listing.splitlines():
        pid, parent, group, state, started = line.split(None, 4)
        table[int(pid)] = Stat(
            pid=int(pid),
            state=state[0],
            parent=int(parent),
            session=int(group),
            start_time=started.strip(),
        )
    # It saw itself, as a child of whoever asks what there is to kill.
    table.pop(own_pid, None)
    return table


def _home_in(environment: Collection[bytes]) -> bytes | None:
    prefix = f"{HOME_ID_VARIABLE}=".encode()
    named = (entry for entry in environment if entry.startswith(prefix))
    return next((entry.removeprefix(prefix) for entry in named), None)


def _environment(pid: int) -> list[bytes]:
    try:
        if ON_LINUX:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return file.read().split(b"\0")
        _, listing = ask_program("/bin/ps", "-Eww", "-o", "command=", "-p", str(pid))
    except OSError:
        return []
    return os.fsencode(listing).split()


def _is_launcher(pid: int) -> bool:
    try:
        if ON_LINUX:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return _LAUNCHER in file.read()
        _, listing = ask_program("/bin/ps", "-ww", "-o", "command=", "-p", str(pid))
    except OSError:
        return False
    return _LAUNCHER in os.fsencode(listing)
