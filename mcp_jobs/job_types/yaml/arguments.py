"""What a list of arguments, which no shell sees, may be given a parameter for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn

from mcp_jobs.job_types.yaml.programs import CODE_FLAGS, FIND_RUNS, REREADS, STARTS, XARGS
from mcp_jobs.job_types.yaml.shapes import after_wrapper, interpreter_flags, unwrapped
from mcp_jobs.job_types.yaml.shell_words import HOLE, Refusal, Word

_PROGRAM_FIRST: Final = frozenset({"awk", "gawk", "mawk", "nawk", "sed", "gsed"})
_PROGRAM_FLAGS: Final = ("-e", "-f", "--expression", "--file", "--source")
_VALUE_FLAGS: Final = frozenset({"-v", "-F"})


def check_arguments(words: Sequence[Word]) -> None:
    """Raise `Refusal` where a parameter would be, or choose, the program or its code.

    What any other program makes of an argument is its own business.
    """
    if not any(word.has_hole for word in words):
        return
    name, _, arguments = unwrapped(words)
    hole = next((one for one in arguments if one.has_hole), None)
    if name is None or hole is None:
        return
    if name in REREADS:
        _refuse(hole, f"{name} would read the text of a param as a program or code")
    elif interpreter_flags(name) is not None:
        _check_script(name, arguments)
    elif name in _PROGRAM_FIRST:
        _check_program(name, arguments)
    elif name in STARTS:
        _check_first(name, arguments)
    elif name == "xargs":
        _check_inner(after_wrapper(name, arguments, XARGS))
    elif name == "find":
        _check_find(arguments)


def _check_script(name: str, arguments: Sequence[Word]) -> None:
    for place, argument in enumerate(arguments):
        code = CODE_FLAGS.match(argument.text)
        if code is not None:
            following = arguments[place : place + 2]
            if bad := next((one for one in following if one.has_hole), None):
                _refuse(bad, f"{name} {code.group()} would read the text of a param as code")
            return
        if argument.text == "-m" and place + 1 < len(arguments):
            if HOLE in arguments[place + 1].text:
                _refuse(arguments[place + 1], f"a param cannot be the module that {name} runs")
            return
        if not argument.text.startswith("-"):
            break
    _check_first(name, arguments)


def _check_first(name: str, arguments: Sequence[Word]) -> None:
    """Raise where the first operand, which names what is run, is a parameter's to choose."""
    first = next((one for one in arguments if not one.text.startswith("-")), None)
    if first is not None and first.text.startswith(HOLE):
        _refuse(first, f"a param cannot be what {name} runs")


def _check_program(name: str, arguments: Sequence[Word]) -> None:
    flagged = False
    place = 0
    while place < len(arguments):
        text = arguments[place].text
        if text.startswith(_PROGRAM_FLAGS):
            flagged = True
            bad = next((one for one in arguments[place : place + 2] if one.has_hole), None)
            if bad is not None:
                _refuse(bad, f"{name} would read the text of a param as code")
        elif text in _VALUE_FLAGS:
            place += 1
        elif not text.startswith("-"):
            if not flagged and HOLE in text:
                _refuse(arguments[place], f"{name} would read the text of a param as code")
            return
        place += 1


def _check_find(arguments: Sequence[Word]) -> None:
    for place, argument in enumerate(arguments):
        if argument.text in FIND_RUNS:
            inner = arguments[place + 1 :]
            ends = [at for at, one in enumerate(inner) if one.text in (";", "+")]
            _check_inner(inner[: ends[0]] if ends else inner)


def _check_inner(words: Sequence[Word]) -> None:
    if words and unwrapped(words)[0] in ("find", "xargs"):
        _refuse(words[0], f"{words[0].text} cannot be run by another program beside a param")
    if words:
        check_arguments(words)


def _refuse(word: Word, message: str) -> NoReturn:
    raise Refusal(word.offset, message)
