"""What a job can put in the place of any file of its directory: `planting.py DIRECTORY NAME KIND`.

The name `.` means the directory itself. Says `planted` when it is done.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 100_000
SPARSE_BYTES = 10 << 30
SPARSE_OUTPUT_BYTES = 512 << 20
"""Eight times what is kept of an output. Its lines are counted, so its size is time and no more:
tests/unit/execution/test_planted_files.py proves that no reader holds more than a window of it."""


def _socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as made:
        os.chdir(path.parent)
        made.bind(path.name)


def _link_to_fifo(path: Path) -> None:
    fifo = path.with_name(f"{path.name}.fifo")
    os.mkfifo(fifo)
    path.symlink_to(fifo)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, SPARSE_OUTPUT_BYTES if path.parent.name == "output" else SPARSE_BYTES)


def _mode_0(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0)


def _foreign(path: Path) -> None:
    path.write_text("{}")
    os.chown(path, 65534, 65534)


def _device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))


def _many(path: Path) -> None:
    path.mkdir()
    directory = os.open(path, os.O_RDONLY)
    for number in range(MANY):
        name = b"\xff\xfe-%d" % number if number % 2 else b"%032d" % number
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory))


def _filled(path: Path) -> None:
    path.mkdir()
    (path / "something").write_text("x")


def _deep(path: Path) -> None:
    path.write_text("[" * 200_000 + "\n")


KINDS: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "socket": _socket,
    "link-to-secret": lambda path: path.symlink_to(path.parents[2] / "secret"),
    "link-to-zeros": lambda path: path.symlink_to("/dev/zero"),
    "link-to-directory": lambda path: path.symlink_to(path.parents[2] / "elsewhere"),
    "link-to-fifo": _link_to_fifo,
    "loop": lambda path: path.symlink_to(path.name),
    "directory": _filled,
    "sparse": _sparse,
    "nested": _deep,
    "mode-0": _mode_0,
    "nothing": lambda _: None,
}
if os.geteuid() == 0:
    KINDS |= {"foreign": _foreign, "device": _device}


def plant(directory: Path, name: str, kind: str) -> None:
    """Put the thing there, whatever was there before."""
    path = directory / name if name != "." else directory
    path.parent.mkdir(exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    {**KINDS, "many": _many}[kind](path)


if __name__ == "__main__":
    plant(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
