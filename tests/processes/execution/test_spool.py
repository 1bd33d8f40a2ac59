"""The spool on a full disk and under a limit of file sizes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_jobs.execution.launcher.spool import Spool, list_segments
from tests.unit.execution.test_spool import _kept, _stream

ROOT = Path(__file__).resolve().parents[3]


def test_over_the_file_size_limit_the_rest_is_counted_as_lost(tmp_path: Path) -> None:
    # A child, because a limit on the size of files can't be taken back.
    program = (
        "import resource, signal, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from mcp_jobs.execution.launcher.spool import Spool\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "spool = Spool(sys.argv[1], 1 << 20)\n"
        "for _ in range(300):\n"
        "    spool.write(b'123456789\\n')\n"
        "spool.sync()\n"
        "spool.close()\n"
        "print(spool.error, spool.bytes_total, spool.lines_total, spool.dropped_bytes)\n"
    )
    command = [sys.executable, "-I", "-c", program, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["EFBIG", "3000", "300", "2000"]
    # The empty segment tells the reader, and the next attempt, what is missing.
    assert list_segments(tmp_path) == [(0, 0, 1000), (3000, 300, 0)]
    resumed = Spool(str(tmp_path), 1 << 20)
    assert (resumed.error, resumed.bytes_total, resumed.dropped_bytes) == (None, 3000, 2000)
    resumed.write(b"again")
    resumed.close()
    assert _kept(tmp_path)[1:] == [(3000, b"again")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mounted)]
    if (
        sys.platform != "linux"
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        pytest.skip("only root can mount a small file system")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_on_a_full_disk_the_newest_file_still_tells_when_something_was_printed(
    small_disk: Path,
) -> None:
    spool = Spool(str(small_disk / "output"), 1 << 20)
    for _ in range(8):
        spool.write(_stream(10_000))
    assert spool.error == "ENOSPC"
    newest = max((small_disk / "output").iterdir())
    os.utime(newest, ns=(1, 1))

    spool.write(b"this is not kept\n")

    assert newest.stat().st_mtime_ns > 1
    spool.close()


def test_on_a_full_disk_what_fits_is_kept_and_the_rest_counted_as_lost(small_disk: Path) -> None:
    whole = _stream(100_000)
    spool = Spool(str(small_disk / "output"), 1 << 20)
    for start in range(0, len(whole), 10_000):
        spool.write(whole[start : start + 10_000])
    spool.close()
    ((start, head), *_) = _kept(small_disk / "output")
    assert spool.error == "ENOSPC"
    assert (start, head) == (0, whole[: len(head)])
    assert 32_768 <= len(head) <= 65_536
    assert (spool.bytes_total, spool.dropped_bytes) == (100_000, 100_000 - len(head))
    assert spool.lines_total == len(whole.splitlines())
