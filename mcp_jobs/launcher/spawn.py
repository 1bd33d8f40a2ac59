"""Start the job's main process: a session of its own, clean signals, gated until it is recorded."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal

from mcp_jobs.launcher.layout import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn


class SpawnError(Exception):
    """The job's program could not be started; the text is for the person who asked for it."""


class Gate:
    """A forked job process that has not run its first instruction yet.

    `open` lets it exec and reports how that went. Should the runner die first, the child sees the
    gate close and leaves without having run anything.
    """

    def __init__(self, pid: int, gate_fd: int, report_fd: int) -> None:
        self.pid = pid
        self._gate_fd = gate_fd
        self._report_fd = report_fd

    def open(self) -> None:
        """Let the program start. Raises `SpawnError` when it could not be executed."""
        write_all(self._gate_fd, b"1")
        os.close(self._gate_fd)
        # The report pipe is close-on-exec: an empty read means that exec succeeded.
        with os.fdopen(self._report_fd, "rb") as report:
            failure = report.read()
        if failure:
            raise SpawnError(json.loads(failure))


def fork_gated(launch: Mapping[str, Any], output_fd: int) -> Gate:
    """Fork the job's main process, stopped before exec.

    `launch` holds `argv`, and `cwd`, `umask`, `environ` and `rlimit_nofile` of the server that
    accepted the job. stdout and stderr become `output_fd`, stdin /dev/null.
    """
    gate_read, gate_write = os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
    report_read, report_write = os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(gate_write)
        os.close(report_read)
        _run_child(launch, output_fd, gate_read, report_write)
    os.close(gate_read)
    os.close(report_write)
    return Gate(pid, gate_write, report_read)


def _run_child(launch: Mapping[str, Any], output_fd: int, gate_fd: int, report_fd: int) -> NoReturn:
    # Whatever goes wrong, a copy of the runner must never return into the runner's code.
    try:
        os.setsid()
        if not os.read(gate_fd, 1):
            os._exit(0)
        problem = _exec(launch, output_fd)
        write_all(report_fd, json.dumps(problem).encode())
    finally:
        os._exit(127)


def _exec(launch: Mapping[str, Any], output_fd: int) -> str:
    """Replace this process by the program; returns only with the reason why that failed."""
    argv, cwd = launch["argv"], launch["cwd"]
    try:
        _set_up(launch, output_fd)
    except (OSError, ValueError) as error:
        return f"The job's process could not be set up: {error}."
    try:
        os.chdir(cwd)
    except OSError as error:
        return f"The working directory {cwd} cannot be entered: {_plain(error)}."
    try:
        os.execvpe(argv[0], argv, launch["environ"])
    except OSError as error:
        return _exec_problem(argv[0], error)
    except ValueError as error:
        return f"The command or its environment cannot be passed to the system: {error}."


def _set_up(launch: Mapping[str, Any], output_fd: int) -> None:
    # Python ignores SIGPIPE and SIGXFSZ, and a fork inherits that; programs expect the defaults.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.umask(launch["umask"])
    if launch.get("rlimit_nofile"):
        soft, hard = launch["rlimit_nofile"]
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _exec_problem(program: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return (
            f"The program {program} was not found. Give its full path, or a name that is on the "
            "PATH of the server that accepted the job."
        )
    if error.errno == errno.EACCES:
        return f"The program {program} is not executable by this user (chmod +x?)."
    if error.errno == errno.E2BIG:
        return f"The command line and environment of {program} are too long for this system."
    return f"The program {program} cannot be executed: {_plain(error)}."


def _plain(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
