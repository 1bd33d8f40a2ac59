"""One runner for each attempt: it owns the job's process tree from first fork to exit record.

The runner needs no server: it enforces the limits, ends the tree when told to, keeps the output
and writes down how it ended. Servers may come and go meanwhile; they hear of its end by the
connection that closes, by the `alive` lock that is free again, or by the exit record.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time

from mcp_jobs.execution.launcher import exit_record, layout, process_tree
from mcp_jobs.execution.launcher.files import OddFileError
from mcp_jobs.execution.launcher.identity import ON_LINUX, Stat, boot_id, pid_namespace, start_time
from mcp_jobs.execution.launcher.output_pump import OutputPump, empty
from mcp_jobs.execution.launcher.spawn import SpawnError, spawn
from mcp_jobs.execution.launcher.stop_notice import StopNotice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mcp_jobs.execution.launcher.pinned import PinnedHome

PROGRESS_VARIABLE = "MCP_JOBS_PROGRESS"

CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends a runner's job and not the runner itself."""

_LAUNCH_FIELDS = frozenset({"argv", "cwd", "umask", "environ", "secrets"})
_LEFTOVER_GRACE_S = 0.5
_SHUTDOWN_GRACE_S = 5.0
_GRACE_POLL_S = 0.02
_HOME_POLL_S = 2.0
_HOLD_S = 1.0
_HOLD_POLL_S = 0.001
_KILL_TURN_S = 0.5


class Refused(Exception):
    """This attempt must not start: a newer claim, or a runner that lives."""


class Unready(Exception):
    """What this attempt needs in the job's directory is not there, or not whole."""


_SPOILED = (Unready, FileNotFoundError, NotADirectoryError, OddFileError)


class Runner:
    """Runs one attempt. `request` is what `LaunchRequest` in launcher_client.py holds."""

    def __init__(
        self, request: Mapping[str, Any], connection: socket.socket, home: PinnedHome | None = None
    ) -> None:
        self._request = request
        self._home = home
        self._alive_fd: int | None = None
        self._connection = connection
        self._job_dir: str = request["job_dir"]
        self._token: int = request["token"]
        self._pid = 0
        self._status: int | None = None
        self._going_down = False
        self._reason: str | None = None
        self._error: str | None = None
        self._started_at_ms: int | None = None
        self._started_s = 0.0
        """The same on a clock that nobody sets."""
        self._wakeup_read, self._wakeup_write = os.pipe()
        self._pump: OutputPump | None = None
        self._notice: StopNotice | None = None

    def run(self) -> None:
        """Live the whole life of the attempt."""
        try:
            with layout.fence_lock(self._job_dir):
                alive_fd = self._take_over()
                pump = self._start(alive_fd)
        except Refused as refusal:
            self._tell(event="refused", error=str(refusal))
            return
        except _SPOILED as problem:
            # Whoever asked knows from the store what should be here, and what must not run again.
            self._tell(event="unready", error=str(problem))
            return
        except OSError as error:
            # No disk space or no process for the runner itself: the caller may try again.
            self._tell(event="failed", error=_plain(error))
            raise
        if self._pid:
            self._tell(event="started", pid=self._pid)
            self._run(pump)
        else:
            self._tell(event="not_started")
        self._hang_up()
        self._write_record(pump, alive_fd)
        os.close(alive_fd)
        if self._detached():
            self._connection.close()
            self._keep(pump)

    def close(self) -> None:
        """Give back what otherwise the end of the process gives back."""
        signal.set_wakeup_fd(-1)
        os.close(self._wakeup_read)
        os.close(self._wakeup_write)
        if self._pump is not None:
            self._pump.close()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._notice is not None:
            self._notice.close()
            self._notice = None

    def _detached(self) -> bool:
        """Whether what the main process left behind may go on, as it ended by itself."""
        return bool(self._request.get("detach")) and self._reason is None

    def _keep(self, pump: OutputPump) -> None:
        """Stay the parent of what was left behind, until it has ended.

        So the launcher never takes it for what a dead runner left. The end of the job is written
        down already: what is printed now is read for the writers' sake, and dropped.
        """
        while not self._going_down:
            # Where there is no subreaper, only the pipe tells that somebody is left.
            if self._reap() and (ON_LINUX or not pump.open):
                return
            pump.skip(self._wakeup_read)
            empty(self._wakeup_read)

    def _run(self, pump: OutputPump) -> None:
        try:
            self._supervise(pump)
        except Exception as error:  # noqa: BLE001 - the tree must not outlive its keeper's own faults
            sys.excepthook(*sys.exc_info())
            process_tree.kill_all(self._tree, reap=self._reap)
            self._reason, self._error = "interrupted", f"The job's runner failed: {error!r}."

    # -- start ---------------------------------------------------------------------------------

    def _take_over(self) -> int:
        """Become this job's only runner; raises `Refused` for a stale or a second claim."""
        fence = layout.read_fence(self._job_dir)
        if fence is None:
            raise Unready("The fence of this job is not a number.")
        if fence > self._token:
            raise Refused("A newer claim of this job exists.")
        alive_fd = layout.lock_file_patiently(self._path(layout.ALIVE))
        if alive_fd is None:
            raise Refused("A runner of this job is alive.")
        previous = layout.read_identity(self._job_dir)
        if previous is not None and previous["token"] >= self._token:
            # The same request came twice (the launcher died after it had forked).
            os.close(alive_fd)
            raise Refused("This claim has already been run.")
        return alive_fd

    def _start(self, alive_fd: int) -> OutputPump:
        """Write down who this is and start the job; without a `_pid` after it, `_reason` says why.

        From the identity on this claim counts as run: whoever kills the runner in between finds a
        job that is interrupted, and none that is started twice.
        """
        self._alive_fd = alive_fd
        self._catch_signals()
        process_tree.become_subreaper()
        launch = self._read_launch()
        pump = OutputPump(
            self._path(layout.OUTPUT),
            cap_bytes=self._request["output_cap_bytes"],
            secrets=launch["secrets"],
        )
        self._pump = pump
        # Before the first look for an order, so that none falls in between.
        self._notice = StopNotice(self._job_dir)
        before = layout.used_bytes(alive_fd)
        try:
            self._write_identity(alive_fd, pump.start)
            self._spawn(launch, pump.write_fd)
        except OSError:
            # What fails now may work in a moment, so this error goes back to who asked.
            os.ftruncate(alive_fd, before)
            raise
        pump.close_write_end()
        if self._pid:
            self._write_job_identity(alive_fd, pump.start)
        return pump

    def _read_launch(self) -> Mapping[str, Any]:
        launch = layout.read_json(self._path(layout.ENV))
        if launch is not None and launch.keys() >= _LAUNCH_FIELDS:
            return launch
        if layout.read_stop(self._job_dir) is not None:
            return {"secrets": ()}
        raise Unready("The job's stored environment is gone.")

    def _spawn(self, launch: Mapping[str, Any], output_fd: int) -> None:
        stop = layout.read_stop(self._job_dir)
        if stop is not None:
            # Cancelled between claim and start: nothing has run, and nothing will.
            self._reason, _ = stop
            return
        self._started_at_ms, self._started_s = _now_ms(), _steady_s()
        try:
            self._pid = spawn(self._here(launch), output_fd)
        except SpawnError as error:
            self._cannot_start(str(error))
            return
        # Taken: should the traces of this attempt get lost, this tells that it has begun.
        with contextlib.suppress(OSError):
            os.unlink(self._path(layout.ENV))

    def _here(self, launch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add what depends on where the job lies, which may be a copy of where it was accepted."""
        argv = launch["argv"]
        if launch.get("takes_directory"):
            argv = [*argv, self._job_dir]
        environ = {
            **launch["environ"],
            process_tree.JOB_ID_VARIABLE: self._request["job_id"],
            process_tree.HOME_ID_VARIABLE: self._request["home_id"],
            PROGRESS_VARIABLE: self._path(layout.PROGRESS),
        }
        return {**launch, "argv": argv, "environ": environ}

    def _cannot_start(self, problem: str) -> None:
        self._reason, self._error = "spawn_error", problem

    def _catch_signals(self) -> None:
        for fd in (self._wakeup_read, self._wakeup_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        # SIGCHLD and SIGIO only have to end a `select`: what the launcher has set stays.
        for number in CAUGHT:
            signal.signal(number, self._on_shutdown)

    def _on_shutdown(self, *_: object) -> None:
        # The machine or the user's session is going down: the job is interrupted, not at fault.
        # Kept in memory, since an order on the disk would also stop the next attempt.
        self._going_down = True

    # -- run -----------------------------------------------------------------------------------

    def _supervise(self, pump: OutputPump) -> None:
        notice_fd = None if self._notice is None else self._notice.fd
        began_s = time.monotonic()
        # For three descriptors, once or twice: an epoll would take more calls to set up.
        with selectors.PollSelector() as selector:
            selector.register(self._wakeup_read, selectors.EVENT_READ)
            if notice_fd is not None:
                selector.register(notice_fd, selectors.EVENT_READ)
            pump.register(selector)
            while not self._main_ended():
                stop = self._due_stop(pump, began_s)
                if stop is not None:
                    self._stop(pump, *stop)
                    break
                ready = selector.select(self._next_wait_s(pump, began_s))
                empty(self._wakeup_read)
                if notice_fd is not None:
                    empty(notice_fd)
                pump.on_ready(ready, selector)
        pump.drain()
        if self._reason is None and self._over_limit(pump):
            # It ended in the moment in which it went over the limit.
            self._reason = "output_limit"
        if not self._detached():
            self._end_leftovers(pump)

    def _main_ended(self) -> bool:
        self._reap()
        return self._status is not None

    def _reap(self) -> bool:
        """Collect exit statuses; True when no child is left, living or dead."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._pid:
                self._status = status

    def _due_stop(self, pump: OutputPump, began_s: float) -> tuple[str, float] | None:
        """Return why and with which grace (seconds) the tree must end now, if it must."""
        stop = layout.read_stop(self._job_dir)
        if stop is not None:
            return stop
        if self._going_down:
            return "interrupted", _SHUTDOWN_GRACE_S
        if self._removed() and self._home is not None and not self._home.holds():
            # With its home went all that could show or stop it: nobody would ever find it.
            self._error = "The home of mcp-jobs was removed while the job ran."
            return "interrupted", _SHUTDOWN_GRACE_S
        now_s = time.monotonic()
        timeout_s, idle_s = self._request["timeout_s"], self._request["idle_timeout_s"]
        if timeout_s is not None and now_s - began_s >= timeout_s:
            return "timeout", self._request["grace_s"]
        if idle_s is not None and now_s - pump.last_output_s >= idle_s:
            if not layout.unanswered(self._job_dir):
                return "idle_timeout", self._request["grace_s"]
            # It waits for a person, and is not to blame.
            pump.last_output_s = now_s
        if self._over_limit(pump):
            return "output_limit", self._request["grace_s"]
        return None

    def _removed(self) -> bool:
        """Whether the file that says who this is was removed; its removal wakes this runner."""
        return self._alive_fd is not None and os.fstat(self._alive_fd).st_nlink == 0

    def _over_limit(self, pump: OutputPump) -> bool:
        limit: int | None = self._request.get("output_limit_bytes")
        return limit is not None and pump.printed_bytes > limit

    def _next_wait_s(self, pump: OutputPump, began_s: float) -> float | None:
        deadlines_s = [pump.flush_due_s]
        if self._request["timeout_s"] is not None:
            deadlines_s.append(began_s + self._request["timeout_s"])
        if self._request["idle_timeout_s"] is not None:
            deadlines_s.append(pump.last_output_s + self._request["idle_timeout_s"])
        if self._removed() or (self._notice is not None and self._notice.fd is not None):
            # The home may be about to follow; or nothing tells of removals here.
            deadlines_s.append(time.monotonic() + _HOME_POLL_S)
        due_s = [deadline for deadline in deadlines_s if deadline is not None]
        return max(0.0, min(due_s) - time.monotonic()) if due_s else None

    # -- end -----------------------------------------------------------------------------------

    def _stop(self, pump: OutputPump, reason: str, grace_s: float) -> None:
        """TERM to the whole tree, grace, KILL. A main process that ended first keeps its own end.

        The reason is only set when the main process was still there to be signalled.
        """
        if self._main_ended() or not self._hold_main(pump):
            return
        self._reason = reason
        self._terminate(pump, grace_s)

    def _hold_main(self, pump: OutputPump) -> bool:
        """Stop the main process for the signal to come; False when it had ended by itself.

        Without this, one that ends while the tree is being searched would be called cancelled. It
        is our child and not reaped, so the pid cannot be anybody else's. One that sleeps in the
        kernel (vfork(2), a file system that does not answer) does not stop, nor does it end by
        itself: what comes next may wake it, and SIGKILL mostly does.
        """
        try:
            os.kill(self._pid, signal.SIGSTOP)
        except PermissionError:
            # It has become another user's (sudo): nothing can be proved, and perhaps not ended.
            return not self._main_ended()
        deadline_s = time.monotonic() + _HOLD_S
        while time.monotonic() < deadline_s:
            pid, status = os.waitpid(self._pid, os.WUNTRACED | os.WNOHANG)
            if pid and not os.WIFSTOPPED(status):
                self._status = status
                return False
            if pid:
                return True
            pump.read_for(_HOLD_POLL_S)
        return True

    def _end_leftovers(self, pump: OutputPump) -> None:
        if not self._gone():
            self._terminate(pump, _LEFTOVER_GRACE_S)

    def _terminate(self, pump: OutputPump, grace_s: float) -> None:
        for process in self._tree():
            process_tree.send(process, signal.SIGTERM)
            # A stopped process acts on TERM only when it goes on.
            process_tree.send(process, signal.SIGCONT)
        deadline_s = time.monotonic() + grace_s
        while not self._gone() and time.monotonic() < deadline_s:
            # A later order may be less patient than the one that is being carried out.
            stop = layout.read_stop(self._job_dir)
            if stop is not None and stop[1] < grace_s:
                grace_s = stop[1]
                deadline_s = min(deadline_s, time.monotonic() + grace_s)
            # Keep reading: a program that flushes at its end must not block on a full pipe.
            pump.read_for(min(_GRACE_POLL_S, deadline_s - time.monotonic()))
        while not self._gone():
            # In turns: output of what cannot be killed at once must go on being read.
            process_tree.kill_all(self._tree, reap=self._reap, patience_s=_KILL_TURN_S)
            pump.read_for(_GRACE_POLL_S)

    def _gone(self) -> bool:
        """Whether nothing of the tree lives. For a subreaper, no child means no descendant."""
        return self._reap() and (ON_LINUX or not self._tree())

    def _tree(self) -> list[Stat]:
        found = process_tree.descendants(os.getpid())
        if not ON_LINUX:
            # Without a subreaper an orphan leaves the tree, but not its environment.
            known = {process.pid for process in found}
            marked = process_tree.marked(self._request["job_id"], (self._request["home_id"],))
            found += [process for process in marked if process.pid not in known]
        return found

    def _write_identity(self, alive_fd: int, output_start: int) -> None:
        layout.add_line(alive_fd, self._identity(output_start), room_bytes=exit_record.ROOM_BYTES)

    def _write_job_identity(self, alive_fd: int, output_start: int) -> None:
        """Add who the main process is. Without it, its environment and its parents tell."""
        # The job runs: no error may make anybody believe that it does not.
        with contextlib.suppress(OSError):
            layout.add_line(alive_fd, self._identity(output_start))

    def _identity(self, output_start: int) -> dict[str, Any]:
        return {
            "token": self._token,
            "attempt": self._request["attempt"],
            "pid": os.getpid(),
            "start_time": start_time(os.getpid()),
            "job_pid": self._pid or None,
            "job_start_time": start_time(self._pid) if self._pid else None,
            "boot_id": boot_id(),
            "pid_namespace": pid_namespace(),
            "home_id": self._request["home_id"],
            "output_start": output_start,
        }

    def _write_record(self, pump: OutputPump, alive_fd: int) -> None:
        if self._going_down and self._reason is None and self._status:
            # The system's SIGTERM reached the job and its runner together.
            self._reason = "interrupted"
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        code = None if self._status is None else os.waitstatus_to_exitcode(self._status)
        pump.finish()
        ending: exit_record.ExitRecord = {
            "token": self._token,
            "reason": self._reason,
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "error": exit_record.short(self._error),
            "started_at_ms": self._started_at_ms,
            "finished_at_ms": self._finished_at_ms(),
            "cpu_s": round(used.ru_utime + used.ru_stime, 3),
            "memory_peak_bytes": used.ru_maxrss * (1024 if ON_LINUX else 1),
            "bytes_total": pump.spool.bytes_total,
            "dropped_bytes": pump.spool.dropped_bytes,
            "output_start": pump.start,
            "output_error": pump.spool.error,
        }
        exit_record.write(
            self._job_dir,
            alive_fd,
            ending,
            # Before it is on the disk: whoever stores the end makes it last as well.
            written=lambda: self._tell(event="ended", record=ending),
        )

    def _finished_at_ms(self) -> int:
        """Return the end on the clock of the start: it may have been set by hours in between."""
        if self._started_at_ms is None:
            return _now_ms()
        return self._started_at_ms + round((_steady_s() - self._started_s) * 1000)

    def _tell(self, **message: object) -> None:
        """Tell the server, if it still listens; the files say the same to everybody else."""
        with contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def _path(self, name: str) -> str:
        return os.path.join(self._job_dir, name)


def _plain(error: OSError) -> str:
    text = error.strerror or str(error)
    return f"{text} ({error.filename})" if error.filename else text


def _steady_s() -> float:
    """Return seconds since the machine started, suspended or not; nobody sets this clock."""
    # What macOS calls monotonic counts while it sleeps, too.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
