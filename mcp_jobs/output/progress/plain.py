"""Any other tool's ``NN%``, when the line looks like progress and not like a sentence.

The rule: a whole line has exactly one percentage, none of the words of ``_OTHER_MEANING``
(coverage, cpu, accuracy, ...), and one of

1. a drawn bar before or after it: ``[=====>    ] 45%``, ``##### 45.3%``, ``45% ███▋``;
2. a word of progress before it and nothing, or a count, size, rate, time or "done" behind it:
   ``Downloading foo... 45%``, ``Receiving objects:  45% (450/1000)``, ``[download] 45% of 9MiB``;
3. nothing before it, and the same, or what is being done, behind it: ``45% building modules``;
4. only digits before it and a rate behind it: ``1,234,567  45%   12.3MB/s`` (rsync).

So "100% coverage", "TOTAL 500 50 90%", "CPU: 45%" and "45% of users" are not progress.
"""

from __future__ import annotations

import re

from mcp_jobs.output.progress.figures import ALL_PERCENT, Reading, clean_message

_LINE = re.compile(
    r"([^%]{0,300}?)(?<![\w.,/-])(\d{1,3}(?:\.\d{1,3})?) ?%[\])]?(?!\w)([^%]{0,200})"
)

_OTHER_MEANING = re.compile(
    r"\b(?:acc(?:uracy)?|battery|branch(?:es)?|confidence|cov(?:er(?:age|ed)?)?|cpu|decreased?|"
    r"disk|discount|errors?|failed|faster|fewer|free|full|hits?|idle|increased?|larger|less|"
    r"loss|lost|mem(?:ory)?|misses|more|passed|probability|ratio|rate|reduc\w+|savings?|"
    r"slower|smaller|statements|stmts|success|swap|threshold|tolerance|usage|used|"
    r"utili[sz]ation|volume|zoom)\b",
    re.IGNORECASE,
)
_BAR = re.compile(
    r"[<\[(|][=#>*\-. █▉▊▋▌▍▎▏▓▒░━╸╺]{4,}[>\])|]|[█▉▊▋▌▍▎▏▓▒░━╸╺]{2,}|[#=]{5,}|\.{10}"
)
_BAR_BEGINS = re.compile(r"\s*(?:[|\[]?[█▉▊▋▌▍▎▏▓▒░━╸╺]|[<\[|][=#>*\-. ]{4,}[>\]|]|[=#]{5,})")
_BAR_CHARS = frozenset("=#>*-.█▉▊▋▌▍▎▏▓▒░━╸╺")
_DOING = (
    r"(?:analy[sz]|assembl|back|build|bundl|calculat|check|clon|compil|compress|comput|convert|"
    r"copy|crawl|creat|delet|deploy|download|emitt|encod|evaluat|execut|export|extract|fetch|"
    r"flash|format|generat|hash|import|index|install|link|load|merg|migrat|minify|optimi[sz]|"
    r"packag|pars|process|pull|push|read|receiv|render|resolv|restor|runn|scann?|search|seed|"
    r"send|simulat|sort|synci?h?r?o?n?i?[sz]?|test|train|transcod|transferr?|unpack|unzipp|"
    r"updat|upgrad|upload|validat|verify|writ)ing"
)
_PROGRESS_WORD = re.compile(
    rf"\b(?:{_DOING}|progress|completed?|done|epoch|finished|download|upload|reading \w+ lists)\b",
    re.IGNORECASE,
)
_DOING_BEHIND = re.compile(rf"\s*(?:[:|-]\s*)?{_DOING}\b", re.IGNORECASE)
_RATE = re.compile(r"\s+\d[\d.,]*\s?[kKMGT]?i?B/s\b")
_COUNT_BEHIND = re.compile(
    r"\s*(?:[.…!,;:|-]*\s*\Z|[.(\[]?\s*(?:complete|completed|done|finished)\b[\s.!)\]]*\Z"
    r"|[\[(|,-]*\s*~?\d[\d.,]*\s?[kKMGT]?i?B?\s?(?:/|of)\s?~?\d"
    r"|of\s+~?\s*\d|[\[(|,-]*\s*(?:ETA\b|\d+:\d\d))",
    re.IGNORECASE,
)


def plain_percent(line: str) -> Reading | None:
    """Return the percentage of a complete line that looks like progress."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return None
    before, number, behind = found.group(1), found.group(2), found.group(3)
    if float(number) > ALL_PERCENT or not _looks_like_progress(before, behind):
        return None
    if _OTHER_MEANING.search(line):
        return None
    return Reading(percent=float(number), message=clean_message(line))


def _looks_like_progress(before: str, behind: str) -> bool:
    if not _BAR_CHARS.isdisjoint(before) and _BAR.search(before):
        return True
    behind_told = _BAR_BEGINS, _COUNT_BEHIND, _RATE
    told = any(pattern.match(behind) for pattern in behind_told)
    if not before.strip(" \t[(|-"):
        return told or _DOING_BEHIND.match(behind) is not None
    if not any(char.isalpha() for char in before):
        return _RATE.match(behind) is not None
    told = told or _DOING_BEHIND.match(behind) is not None
    return told and _PROGRESS_WORD.search(before) is not None
