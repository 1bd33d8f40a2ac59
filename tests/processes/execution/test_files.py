"""Files that others keep to themselves are refused at once, and named."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.execution.launcher import files

if TYPE_CHECKING:
    from pathlib import Path
from tests.unit.execution.test_files import as_root


@as_root
def test_a_file_that_may_not_be_read_is_named_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("ours")
    path.chmod(0)
    for each in (path, tmp_path):
        os.chown(each, 65534, 65534)
    directory = os.open(tmp_path, os.O_RDONLY)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            files.read_file("file", dir_fd=directory)
        except files.OddFileError as error:
            code = 0 if "a file with the mode 0000" in str(error) else 2
        finally:
            os._exit(code)

    os.close(directory)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(fcntl, "F_SETLEASE"), reason="leases are Linux's")
def test_a_lease_of_another_process_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    hold = (
        "import fcntl, os, signal, sys; signal.signal(signal.SIGIO, signal.SIG_IGN);"
        "fcntl.fcntl(os.open(sys.argv[1], os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK);"
        "print('held', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", hold, str(path)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            with pytest.raises(files.OddFileError, match="under the lease of another process"):
                files.read_file(path)
        finally:
            holder.kill()
