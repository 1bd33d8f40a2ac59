"""Start the job's main process: a session of its own, clean signals, the acceptor's surroundings.

`posix_spawn` and not a fork: a forked interpreter copies some two hundred pages of memory before
it comes to its exec, and makes its parent copy its own again, which is more than a short job costs.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_NO_PROCESS = frozenset({errno.EAGAIN, errno.ENOMEM})
_NOT_HERE = frozenset({errno.ENOENT, errno.ENOTDIR})
_RESET = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class SpawnError(Exception):
    """The job's program could not be started; the text is for the person who asked for it."""


def spawn(launch: Mapping[str, Any], output_fd: int) -> int:
    """Start the job's main process and return its pid.

    `launch` holds `argv`, and `cwd`, `umask`, `environ` and `rlimit_nofile` of the server that
    accepted the job. stdout and stderr become `output_fd`, stdin /dev/null. Raises `SpawnError`
    when the program cannot be started, and OSError when no process can be made just now.
    """
    try:
        with _surroundings(launch):
            pid = _search(launch["argv"], launch["environ"], output_fd)
    except ValueError as error:
        problem = f"The command or its environment cannot be passed to the system: {error}."
        raise SpawnError(problem) from error
    _limit_hard(pid, launch)
    return pid


@contextmanager
def _surroundings(launch: Mapping[str, Any]) -> Iterator[None]:
    """Stand where the job will stand; the runner itself goes back at once."""
    cwd = launch["cwd"]
    try:
        os.chdir(cwd)
    except OSError as error:
        raise SpawnError(
            f"The working directory {cwd} cannot be entered: {_plain(error)}."
        ) from error
    umask = os.umask(launch["umask"])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        if launch.get("rlimit_nofile"):
            soft = _at_most(launch["rlimit_nofile"][0], limits[1])
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.umask(umask)
        # A runner that stays would keep a file system from being unmounted after its job.
        os.chdir("/")


def _at_most(limit: int, other: int) -> int:
    unlimited = resource.RLIM_INFINITY
    known = [value for value in (limit, other) if value != unlimited]
    return min(known, default=unlimited)


def _limit_hard(pid: int, launch: Mapping[str, Any]) -> None:
    """Lower the hard limit of the new process; a runner could not raise its own again."""
    wanted = tuple(launch.get("rlimit_nofile") or ())
    own_hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if wanted and wanted[1] != own_hard and hasattr(resource, "prlimit"):
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, wanted)
        except (OSError, ValueError):
            # It has changed its user, or lowered its limits itself.
            return


def _search(argv: list[str], environ: Mapping[str, str], output_fd: int) -> int:
    """Try the program along the job's PATH, as execvp does."""
    program = argv[0]
    if "/" in program:
        paths = [program]
    else:
        folders = environ.get("PATH", os.defpath).split(os.pathsep)
        paths = [os.path.join(folder, program) for folder in folders]
    problem: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in paths:
        if len(paths) > 1 and not os.path.exists(path):
            continue
        try:
            return _spawn(path, argv, environ, output_fd)
        except OSError as error:
            if error.errno in _NO_PROCESS:
                raise
            if error.errno not in _NOT_HERE:
                problem = error
    raise SpawnError(_exec_problem(program, problem)) from problem


def _spawn(path: str, argv: list[str], environ: Mapping[str, str], output_fd: int) -> int:
    return os.posix_spawn(
        path,
        argv,
        environ,
        file_actions=(
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output_fd, 1),
            (os.POSIX_SPAWN_DUP2, output_fd, 2),
        ),
        setsid=True,
        setsigmask=(),
        # Python ignores SIGPIPE and SIGXFSZ, which exec keeps; programs expect the defaults.
        setsigdef=_RESET,
    )


def _exec_problem(program: str, error: OSError) -> str:
    if error.errno == errno.ENOENT and "/" in program and os.path.exists(program):
        return (
            f"The program {program} cannot be started: the interpreter that its first line (#!) "
            "names was not found."
        )
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
