"""Run a command as hosts sandbox those of their models: without network, and with little to write.

    python sandbox.py [--offline] [--writable DIRECTORY]... -- COMMAND...

`--offline` installs a seccomp filter of the kind that Codex installs: the calls that make and use
connections fail with EPERM, also on socket pairs, where `write` still works. `--writable` lets
Landlock refuse to write anything but what is beneath these directories, and /dev/null. The exit
code is `UNSUPPORTED` where the kernel does not have what is asked for.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from typing import Final

UNSUPPORTED: Final = 77

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM
_LOAD_WORD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _FIRST_ARGUMENT_AT = 0, 16

# connect accept accept4 bind listen getpeername getsockname shutdown sendto sendmmsg recvmmsg
# getsockopt setsockopt; and socket, socketpair
_DENIED: Final = {
    "x86_64": (42, 43, 288, 49, 50, 52, 51, 48, 44, 307, 299, 55, 54),
    "aarch64": (203, 202, 242, 200, 201, 205, 204, 210, 206, 269, 243, 209, 208),
}
_LOCAL_ONLY: Final = {"x86_64": (41, 53), "aarch64": (198, 199)}

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ACCESS_OF_FIRST_VERSION: Final = (1 << 13) - 1
_READ: Final = 0b1101
"""Execute, read a file, read a directory."""

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Take the rights away and become the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--writable", action="append")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    try:
        _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        if arguments.writable is not None:
            _write_only(arguments.writable)
        if arguments.offline:
            _refuse_connections()
    except (OSError, KeyError) as error:
        sys.stderr.write(f"no sandbox on this machine: {error!r}\n")
        sys.exit(UNSUPPORTED)
    os.execvp(arguments.command[0], arguments.command)


def _refuse_connections() -> None:
    machine = platform.machine()
    steps = [_step(_LOAD_WORD, _NUMBER_AT)]
    for number in _DENIED[machine]:
        steps += [_step(_JUMP_EQUAL, number, otherwise=1), _step(_RETURN, _REFUSE)]
    for number in _LOCAL_ONLY[machine]:
        steps += [
            _step(_JUMP_EQUAL, number, otherwise=4),
            _step(_LOAD_WORD, _FIRST_ARGUMENT_AT),
            _step(_JUMP_EQUAL, socket.AF_UNIX, otherwise=1),
            _step(_RETURN, _ALLOW),
            _step(_RETURN, _REFUSE),
        ]
    steps.append(_step(_RETURN, _ALLOW))
    text = ctypes.create_string_buffer(b"".join(steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(text))
    _checked(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0))


def _step(code: int, value: int, *, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, 0, otherwise, value)


def _write_only(directories: list[str]) -> None:
    handled = struct.pack("=Q", _ACCESS_OF_FIRST_VERSION)
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, handled, len(handled), 0))
    for path in ("/", "/dev/null", *directories):
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        # Of a file only what a file has: execute, write, read.
        allowed = _READ if path == "/" else _ACCESS_OF_FIRST_VERSION
        allowed = allowed if os.path.isdir(path) else 0b111
        rule = struct.pack("=Qi", allowed, fd)
        _checked(_libc.syscall(_ADD_RULE, ruleset, 1, rule, 0))
        os.close(fd)
    _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    main()
