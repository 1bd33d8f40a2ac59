"""Counts in words, whatever program printed them, and what keras, pip and npm say.

A line counts when a word of progress stands before ``50 of 100`` or ``50/100``: `processed 50 of
100 rows`, or a word for a part, as in `Step 2/5: build`. A part is named when it begins, so that
one less is done.
"""

from __future__ import annotations

import re

from mcp_jobs.output.progress.builds import counted
from mcp_jobs.output.progress.figures import Reading, clean_message

_COUNT = r"(\d{1,9}) ?(?:/|of) ?(\d{1,9})(?![\d.,/-]*\d)\b"
_DONE = re.compile(
    r"(?:.{0,60}\b)?(?:analy[sz]|build|built|check|compil|complet|convert|copi|creat|delet|deploy|done"
    r"|download|encod|export|extract|fetch|finish|format|generat|handl|import|index|install|load|"
    r"migrat|mov|pars|process|pull|push|read|receiv|render|scan|seed|sen[dt]|synchroni[sz]|sync|"
    r"train|transcod|transferr?|upload|validat|verifi|wr[io]t)(?:e?d|ing|t|n|en|ten)?:? "
    rf"(?:\w{{1,20}} ){{0,2}}?[\[(]?{_COUNT}",
    re.IGNORECASE,
)
_PART = re.compile(
    rf"[\W_]{{0,8}}(?:step|stage|phase|part|task|epoch|batch|iteration|round|chunk) #?{_COUNT}",
    re.IGNORECASE,
)
_MESSAGE = re.compile(
    # pip
    r"(?:Collecting \S+|Downloading \S+ \(|Building wheels? for |Installing collected packages: )"
    # npm, pnpm
    r"|(?:added|removed|changed) \d{1,7} packages?\b"
)


_PIP_BAR = re.compile(
    r"\s{0,8}[━╸╺─]{5,60} (\d{1,6}(?:\.\d{1,3})?)/(\d{1,6}(?:\.\d{1,3})?) [kMG]?B\b"
)


def count_of(line: str) -> Reading | None:
    """Return the count that a complete line tells in words, else None."""
    if part := _PART.match(line):
        number, total = int(part.group(1)), int(part.group(2))
        return counted(str(max(number - 1, 0)), str(total), line) if number <= total else None
    if (done := _DONE.match(line)) is not None:
        return counted(done.group(1), done.group(2), line)
    if bar := _PIP_BAR.match(line):
        shown, whole = float(bar.group(1)), float(bar.group(2))
        return Reading(current=shown, total=whole) if 0 < shown <= whole else None
    return Reading(message=clean_message(line)) if _MESSAGE.match(line) else None


_EPOCH = re.compile(r"Epoch (\d{1,6})/(\d{1,6})\Z")
_BATCH = re.compile(r"\s{0,8}(\d{1,9})/(\d{1,9}) (?:[━─╸╺]|\[[=>.]|\s*\d)")


class KerasProgress:
    """Counts epochs, and within one the batches that its bar shows."""

    def __init__(self) -> None:
        self._epoch: tuple[int, int] | None = None

    def line(self, line: str) -> Reading | None:
        """Take a complete line, also one that a bar painted."""
        if epoch := _EPOCH.match(line.rstrip()):
            number, total = int(epoch.group(1)), int(epoch.group(2))
            self._epoch = (number, total) if 0 < number <= total else None
            return self._reading(0, 1)
        batch = _BATCH.match(line) if self._epoch and "/" in line else None
        return self._reading(int(batch.group(1)), int(batch.group(2))) if batch else None

    def _reading(self, batch: int, batches: int) -> Reading | None:
        if self._epoch is None or not 0 <= batch <= batches or not batches:
            return None
        number, total = self._epoch
        ended = number - 1 + batch / batches
        return Reading(
            current=number if batch == batches else number - 1,
            total=total,
            percent=100 * ended / total,
            message=f"epoch {number} of {total}",
        )
