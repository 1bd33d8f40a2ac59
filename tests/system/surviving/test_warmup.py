"""The launcher goes through a runner's life, and is afterwards as it was before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]

# As the launcher does: without site-packages, with its two signals already caught.
_PROGRAM = """
import json, os, resource, signal, sys
sys.path.insert(0, sys.argv[1])
from mcp_jobs.execution.launcher import exit_record, warmup
for number in (signal.SIGCHLD, signal.SIGIO):
    signal.signal(number, lambda *_: None)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
ends, write = [], exit_record.write
def kept(job_dir, fd, end, **more):
    ends.append((end["reason"], end["exit_code"]))
    write(job_dir, fd, end, **more)
exit_record.write = kept
def state():
    umask = os.umask(0)
    os.umask(umask)
    return [
        sorted(os.listdir("/dev/fd")), os.getcwd(), umask,
        [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        resource.getrlimit(resource.RLIMIT_NOFILE), signal.set_wakeup_fd(-1),
    ]
os.chdir("/")
before = state()
warmup.warm_up(sys.argv[2])
try:
    os.waitpid(-1, os.WNOHANG)
    left = True
except ChildProcessError:
    left = False
json.dump({"same": state() == before, "ends": ends, "left": left}, sys.stdout)
"""


def _warmed_up(directory: Path) -> dict[str, Any]:
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(ROOT), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="there it is left out")
def test_a_job_is_run_and_nothing_of_it_stays(tmp_path: Path) -> None:
    directory = tmp_path / "warm-up"
    # A launcher was killed in the middle.
    directory.mkdir()
    (directory / "alive").write_text("{}\n")

    assert _warmed_up(directory) == {"same": True, "ends": [[None, 0]] * 2, "left": False}
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_costs_nothing_but_the_rehearsal(tmp_path: Path) -> None:
    found = _warmed_up(tmp_path / "nowhere" / "warm-up")

    assert found == {"same": True, "ends": [], "left": False}
