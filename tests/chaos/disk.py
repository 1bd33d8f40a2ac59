"""A disk of its own for a home: an ext4 in a file, whose state at one moment can be copied."""

from __future__ import annotations

import mmap
import os
import subprocess
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

SIZE_BYTES: Final = 96 << 20
_BLOCK_BYTES: Final = 1 << 16
_UNMOUNT_BOUND_S: Final = 20.0
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


class NoDisks(Exception):
    """This system does not let us have one; the text says why."""


def run(*command: str | Path) -> None:
    """Run a command. Raises `NoDisks` with what it says against it."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoDisks(f"{command[0]}: {error}") from error
    if done.returncode:
        raise NoDisks(f"{command[0]}: {done.stderr.strip() or 'refused'}")


class Disk:
    """An image that is mounted at a directory until it is closed."""

    def __init__(self, image: Path, directory: Path) -> None:
        self.image = image
        self.directory = directory
        self._undo = ExitStack()

    @classmethod
    def new(cls, image: Path, directory: Path) -> Self:
        """Make an empty one. Raises `NoDisks`."""
        with image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        return cls(image, directory).mount()

    def mount(self) -> Self:
        """Mount it; the journal brings it into order, as after a power cut. Raises `NoDisks`."""
        self.directory.mkdir(exist_ok=True)
        run("mount", "-o", "loop", self.image, self.directory)
        self._undo.callback(self._unmount)
        return self

    def close(self) -> None:
        """Unmount it, whoever still uses it, and give its loop device back."""
        self._undo.close()

    def copy(self, path: Path) -> None:
        """Copy what the file system has given to the disk by now, as of one moment.

        What it holds back in memory is not in it: that is what a power cut takes. One direct read
        of the whole file holds the lock which every write of the loop device needs, so that
        nothing is written while it lasts.
        """
        fd = os.open(self.image, os.O_RDONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, SIZE_BYTES) as data:
                if os.preadv(fd, [data], 0) != SIZE_BYTES:
                    raise NoDisks("the image cannot be read at once")
                _write_sparse(path, data)
        finally:
            os.close(fd)

    def _unmount(self) -> None:
        deadline_s = time.monotonic() + _UNMOUNT_BOUND_S
        while subprocess.run(
            ["umount", self.directory], capture_output=True, check=False
        ).returncode:
            if time.monotonic() > deadline_s:
                # Somebody is still in it; the device goes when he does.
                subprocess.run(["umount", "--lazy", self.directory], check=False)
                return
            time.sleep(0.05)


class Boot:
    """One boot of a machine: what is run with its `prefix` sees an id of its own."""

    def __init__(self, root: Path) -> None:
        self._file = root / f"boot-{uuid.uuid4()}"
        self._file.write_text(f"{uuid.uuid4()}\n")

    @property
    def prefix(self) -> tuple[str, ...]:
        """Return what stands before a command that is run in it."""
        script = f'mount --bind "$0" {_BOOT_ID} && exec "$@"'
        apart = ("unshare", "--mount", "--propagation", "slave")
        return (*apart, "sh", "-c", script, str(self._file))

    def check(self) -> None:
        """Raise `NoDisks` where this system does not let a process have another boot id."""
        run(*self.prefix, "true")


def _write_sparse(path: Path, data: mmap.mmap) -> None:
    empty = bytes(_BLOCK_BYTES)
    with path.open("wb") as file:
        file.truncate(SIZE_BYTES)
        for offset in range(0, SIZE_BYTES, _BLOCK_BYTES):
            block = data[offset : offset + _BLOCK_BYTES]
            if block != empty:
                file.seek(offset)
                file.write(block)
