"""What stands under a file's name and is no file of ours is refused: at once, and unread."""

from __future__ import annotations

import os
import socket
import stat
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.execution.launcher import files, layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LIMIT_BYTES = 1 << 20
_FLAGS = {
    "read": os.O_RDONLY,
    "write": os.O_WRONLY | os.O_CREAT,
    "append": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "both": os.O_RDWR | os.O_CREAT,
}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")


def _socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(path))


def _link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("fifo"))
    path.symlink_to("fifo")


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


def _foreign(path: Path) -> None:
    path.write_text("theirs")
    os.chown(path, 65534, 65534)


def _device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "fifo": (os.mkfifo, "a FIFO"),
    "socket": (_socket, "a socket"),
    "directory": (os.mkdir, "a directory"),
    "link-to-secret": (_link_to("/etc/passwd"), "a symbolic link"),
    "link-to-zeros": (_link_to("/dev/zero"), "a symbolic link"),
    "link-to-fifo": (_link_to_fifo, "a symbolic link"),
    "link-to-nothing": (_link_to("nothing"), "a symbolic link"),
    "loop": (_loop, "a symbolic link"),
    "sparse": (_sparse, f"a file of {10 << 30} bytes"),
}


@pytest.mark.parametrize("flags", _FLAGS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_small_file_of_ours_is_named_and_not_opened(
    tmp_path: Path, kind: str, flags: str
) -> None:
    plant, what = KINDS[kind]
    plant(tmp_path / "file")
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0

    with pytest.raises(files.OddFileError, match=f"^{what}.* stands where a file should be: file$"):
        files.open_file(tmp_path / "file", _FLAGS[flags], limit_bytes=_LIMIT_BYTES)

    assert sys.platform != "linux" or len(os.listdir("/proc/self/fd")) == before
    assert not (tmp_path / "nothing").exists()


@as_root
@pytest.mark.parametrize("flags", ["read", "write"])
def test_a_device_is_not_opened(tmp_path: Path, flags: str) -> None:
    try:
        _device(tmp_path / "file")
    except PermissionError:
        pytest.skip("no device can be made here")

    with pytest.raises(files.OddFileError, match="a device"):
        files.open_file(tmp_path / "file", _FLAGS[flags])


@as_root
def test_a_file_of_another_user_is_read_only_where_that_is_meant(tmp_path: Path) -> None:
    _foreign(tmp_path / "file")

    with pytest.raises(files.OddFileError, match=r"another user \(uid 65534\)"):
        files.read_file(tmp_path / "file")

    assert files.read_file(tmp_path / "file", owned=False) == b"theirs"


def test_a_good_file_is_read_and_made_private(tmp_path: Path) -> None:
    fd = files.open_file(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    layout.write_all(fd, b"hello")
    os.close(fd)

    assert files.read_file(tmp_path / "file", limit_bytes=5) == b"hello"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    with pytest.raises(files.OddFileError, match="of 5 bytes or more, where 4 are allowed"):
        files.read_file(tmp_path / "file", limit_bytes=4)


def test_a_name_is_looked_up_in_the_directory_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    directory = files.open_directory(tmp_path)
    try:
        assert files.read_file("file", dir_fd=directory) == b"here"
        with pytest.raises(FileNotFoundError):
            files.read_file("nothing", dir_fd=directory)
    finally:
        os.close(directory)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "directory"])
def test_what_is_no_directory_is_not_opened_as_one(tmp_path: Path, kind: str) -> None:
    KINDS[kind][0](tmp_path / "file")

    with pytest.raises(OSError, match=r"stands where a directory should be|Not a directory"):
        files.open_directory(tmp_path / "file")


def test_a_link_to_a_directory_is_not_opened_as_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)

    with pytest.raises(files.OddFileError, match="a symbolic link stands where a directory"):
        files.open_directory(tmp_path / "link")


@pytest.mark.parametrize("kind", KINDS)
def test_json_and_locks_are_looked_for_in_files_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    KINDS[kind][0](path)
    if kind == "sparse":
        with pytest.raises(files.OddFileError):
            layout.read_json(str(path))
        return

    for look in (layout.read_json, layout.is_locked):
        with pytest.raises(files.OddFileError):
            look(str(path))
    for wait in (True, False):
        with pytest.raises(files.OddFileError):
            layout.lock_file(str(path), wait=wait)


def test_json_that_is_nested_too_deep_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("[" * 200_000)
    (tmp_path / layout.ALIVE).write_text("[" * 200_000 + "\n")

    assert layout.read_json(str(tmp_path / "file")) is None
    assert layout.read_lines(str(tmp_path)) == []
