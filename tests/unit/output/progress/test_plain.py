"""A percentage counts only in a line that looks like progress."""

from __future__ import annotations

import pytest

from mcp_jobs.output.progress import OutputRecogniser
from mcp_jobs.output.progress.plain import plain_percent

PROGRESS = """\
45%
 45 %
[ 45%]
(45%)
Progress: 45%
Progress: 45% complete
Progress: [ 45%]
Uploading 45% done
Step complete: 45%
Epoch 1: 45%
Downloading foo.tar.gz: 45%
Downloading... 45%
Receiving objects:  45% (450/1000), 1.20 MiB | 500.00 KiB/s
[download]  45.0% of   10.00MiB at    1.20MiB/s ETA 00:10
######################        45.0%
[=====>     ] 45%
<=====--------> 45% EXECUTING [12s]
Working ━━━━━━━━━━━━━━━━━━━━━ 45% 0:00:12
45% |█████     |
45% building 120/340 modules
<s> [webpack.Progress] 45% building
  1,234,567  45%   12.34MB/s    0:00:10 (xfr#1, to-chk=0/3)
    50K .......... .......... .......... .......... .......... 45% 1.2M 3s
Reading package lists... 45%
frame 12 encoding: 45%, ETA 00:10
Extracting: 45% [00:10<00:12]
Training 45% (45/100)
"""

NOT_PROGRESS = """\
100% coverage
TOTAL     500     50    90%
mcp_jobs/a.py   100   20   80%
All files |   80% | 70%
Lines        : 85.71% ( 6/7 )
Coverage: 85%
CPU: 45%
Disk usage: 70%
/dev/sda1        50G   20G   30G  40% /
accuracy: 95%
loss 0.5 acc 45%
45% of users agree
We are 100% sure
Completed with 12% errors
Building on 45% of revenue
Warning: 45%
You saved 20%
100% packet loss
2 packets transmitted, 2 received, 0% packet loss, time 1001ms
100% tests passed, 0 tests failed out of 5
Done in 5s, 30% smaller
downloading 20% faster
http://x/a%20b
width: 45%;
  font-size: 100%;
SELECT * FROM x WHERE a LIKE '45%'
45%-55%
processing 150%
progress -45%
version 1.45%
"""


@pytest.mark.parametrize("line", PROGRESS.splitlines())
def test_a_progress_line_is_recognised(line: str) -> None:
    reading = plain_percent(line)
    assert reading is not None
    assert reading.percent == 45


@pytest.mark.parametrize("line", NOT_PROGRESS.splitlines())
def test_another_percentage_is_left_alone(line: str) -> None:
    assert plain_percent(line) is None


def test_an_unfinished_line_is_not_judged() -> None:
    recogniser = OutputRecogniser()
    assert recogniser.feed(b"Downloading 45%") is None
    assert recogniser.feed(b" of what we wanted\n") is None
    assert recogniser.feed(b"Downloading 46%\r") is not None


def test_a_tool_with_a_format_of_its_own_silences_plain_percentages() -> None:
    recogniser = OutputRecogniser()
    recogniser.feed(b"[1/10] a\n")
    assert recogniser.feed(b"Downloading 46%\n") is None
