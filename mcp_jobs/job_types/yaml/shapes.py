"""Whether one command may be given the text of a parameter, by the shape of its words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, NoReturn, TypeAlias

from mcp_jobs.domain.environment import changes_what_runs
from mcp_jobs.job_types.yaml.programs import (
    AWK,
    BINARY,
    DATA,
    FIND_RUNS,
    FIND_VALUES,
    FORMAT,
    INTERPRETERS,
    RUNNERS,
    SED,
    SED_FLAGS,
    TOOLS,
    UNARY,
    WRAPPERS,
    XARGS,
    Tool,
    Wrapper,
)
from mcp_jobs.job_types.yaml.shell_words import HOLE, VARIES, Refusal, Word

Words: TypeAlias = Sequence[Word]


class Command(NamedTuple):
    """A program, and what it is given."""

    name: str
    word: Word
    arguments: Words
    given: bool
    """Its input may hold the text of a parameter."""


_ELSE: Final = (
    "put the command into a script of the project (./name), or declare it in jobs.yaml, where "
    "shell has the param as a variable"
)
_WRAPPERS_LIMIT: Final = 10
_SET: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\+?=")
_LOOKS_UP: Final = ("-v", "-V")


def check_command(words: Words, *, given: bool) -> None:
    """Raise `Refusal` unless the holes in a command, or in its input, stay text.

    `given` says that its input may hold the text of a parameter.
    """
    name, word, arguments = unwrapped(words)
    if given and (running := next((one for one in words if one.runs), None)):
        _refuse(running, "$(...) would read the text of a param as its input")
    for argument in words:
        if argument.has_hole and argument.splits:
            _refuse(argument, "this may become several arguments; put it in double quotes")
    if name is None:
        if given and word.text == "exec":
            _refuse(word, "exec would leave the text of a param to what comes later as its input")
        return
    shape = _SHAPES.get(name)
    if shape is not None:
        shape(Command(name, word, arguments, given))
    elif interpreter_flags(name) is not None:
        _interpreter(name, word, arguments)
    elif name in TOOLS:
        _tool(name, word, arguments)
    elif name in RUNNERS or not (name in DATA or _is_of_the_project(word)):
        _refuse_program(word, name, arguments)


def unwrapped(words: Words) -> tuple[str | None, Word, Words]:
    """Return the program that a command runs in the end, its word, and its arguments.

    No name where nothing is run, as by `exec` alone.
    """
    word = words[0]
    for _ in range(_WRAPPERS_LIMIT):
        if not words:
            return None, word, ()
        word, rest = words[0], words[1:]
        if HOLE in word.text:
            _refuse(word, "a param cannot be the name of the program, or a part of it")
        if not word.is_literal:
            _refuse(word, f"the program must be written out where a param is given; {_ELSE}")
        name = word.text.rpartition("/")[2]
        if name == "command" and rest and rest[0].text in _LOOKS_UP:
            return None, word, rest
        if name not in WRAPPERS:
            return name, word, rest
        words = after_wrapper(name, rest, WRAPPERS[name])
    raise Refusal(word.offset, f"more than {_WRAPPERS_LIMIT} programs that run one another")


def after_wrapper(name: str, words: Words, wrapper: Wrapper) -> Words:
    """Return the words from the program on that a wrapper runs."""
    at, operands = 0, wrapper.operands
    while at < len(words):
        word = words[at]
        if word.text == "--":
            at += 1
            break
        if wrapper.assigns and (variable := _SET.match(word.text)) and not word.splits:
            if word.has_hole:
                check_assignment(word, variable.group(1))
        elif word.text.startswith("-") and word.is_literal:
            values = _length_of_option(name, word, wrapper) - 1
            _written_out(name, words[at + 1 : at + 1 + values])
            at += values
        elif operands:
            operands -= 1
            _written_out(name, [word])
        else:
            break
        at += 1
    _written_out(name, words[at : at + operands])
    return words[at + operands :]


def _length_of_option(name: str, word: Word, wrapper: Wrapper) -> int:
    """Return how many words an option of a wrapper has."""
    text = word.text
    if text in wrapper.flags:
        return 1
    if text in wrapper.values:
        return 2
    if text.startswith("--"):
        holds_value = text.partition("=")[0] in wrapper.values
    else:
        # As -k5, and -5 of nice.
        holds_value = text[:2] in wrapper.values or (name == "nice" and text[1:].isdigit())
    if not holds_value:
        _refuse(word, f"the option {text} of {name} is not known here; {_ELSE}")
    return 1


def _written_out(name: str, words: Words) -> None:
    for word in words:
        if not word.is_literal:
            _refuse(word, f"an option or operand of {name} must be written out; {_ELSE}")


def check_assignment(word: Word, name: str) -> None:
    """Raise for a variable that must not hold the text of a parameter."""
    if changes_what_runs(name):
        _refuse(word, f"the variable {name} changes what is run, so a param cannot be its value")


def interpreter_flags(name: str) -> re.Pattern[str] | None:
    """Return the options that may stand before a script; None for what is no interpreter."""
    return next((flags for names, flags in INTERPRETERS if names.fullmatch(name)), None)


# -- shapes ----------------------------------------------------------------------------------------


def _interpreter(name: str, word: Word, arguments: Words) -> None:
    """Accept a script that is written out: what follows it are the script's own arguments."""
    flags = interpreter_flags(name)
    for argument in arguments:
        if flags is None or not argument.is_literal:
            break
        if flags.fullmatch(argument.text):
            continue
        if argument.text.startswith(("-", "/dev/", "/proc/")):
            break
        return
    code = next((one for one in arguments if one.has_hole), word)
    flag = next((one.text for one in arguments if one.text.startswith("-")), "")
    reads = f"{name} {flag}".rstrip()
    what = "code" if code.has_hole else "commands or arguments"
    _refuse(code, f"{reads} would read the text of a param as {what}; {_ELSE}")


def _tool(name: str, word: Word, arguments: Words) -> None:
    tool = TOOLS[name]
    if bad := next((one for one in arguments if one.text.partition("=")[0] in tool.refused), None):
        _refuse(bad, f"the option {bad.text} of {name} runs or reads code; {_ELSE}")
    at = 0
    if tool.commands is not None:
        while at < len(arguments) and arguments[at].text.startswith("-"):
            at += 2 if arguments[at].text in tool.values else 1
        known = at < len(arguments) and arguments[at].text.lower() in tool.commands
        if not known or not all(one.is_literal for one in arguments[: at + 1]):
            _refuse_program(word, name, arguments)
        at += 1
    elif name == "jq" and not any(_is_filter(arguments)):
        _refuse(word, "the filter of jq must be written out before a param")
    for place, argument in enumerate(arguments):
        if argument.has_hole and not (tool.loose or _is_operand(arguments, place, tool)):
            _refuse(
                argument,
                f"a value that begins with - would be an option of {name}; put -- or a fixed "
                "text before it",
            )


def _is_filter(arguments: Words) -> list[bool]:
    """Say of each word before the first hole whether it is an operand."""
    found, skip = [], 0
    for argument in arguments:
        if skip:
            skip -= 1
        elif argument.text in ("--arg", "--argjson"):
            skip = 2
        elif not argument.is_literal:
            break
        else:
            found.append(not argument.text.startswith("-"))
    return found


def _is_operand(arguments: Words, place: int, tool: Tool) -> bool:
    """Say whether the word at `place` can only be a text: no option, whatever its value."""
    text = arguments[place].text
    before = [one.text if one.is_literal else HOLE for one in arguments[:place]]
    if "--" in before and not any(HOLE in one for one in before[: before.index("--")]):
        return True
    if before and before[-1] in tool.values:
        return True
    if len(before) > 1 and before[-2] in tool.pairs:
        return True
    prefix = text[: text.index(HOLE)]
    if prefix.startswith("-"):
        return prefix.partition("=")[0] in tool.values and "=" in prefix
    return bool(prefix) and VARIES not in prefix


def _test(command: Command) -> None:
    words = list(command.arguments)
    if command.name == "[" and words and words[-1].text == "]":
        words.pop()
    if words and words[0].text == "!" and not any(one.text in BINARY for one in words[1:2]):
        words.pop(0)
    match [word.text for word in words]:
        case [] | [_]:
            fits = True
        case [operator, _]:
            fits = operator in UNARY
        case [_, operator, _]:
            fits = operator in BINARY
        case _:
            fits = False
    if not fits or any(one.splits or one.globs for one in words):
        _refuse(
            next((one for one in words if one.has_hole), command.word),
            "[ may compare a param by =, != or look at it by an option as -n and -f, and nothing "
            "else beside it; write several tests with && and ||",
        )


def _printf(command: Command) -> None:
    arguments = command.arguments
    words = arguments[1:] if arguments and arguments[0].text == "--" else arguments
    if words and not (words[0].is_literal and FORMAT.fullmatch(words[0].text)):
        _refuse(
            words[0],
            "the format of printf must be written out, with %s, %b, %c and %% alone, where a param "
            "is given",
        )


def _sed(command: Command) -> None:
    at, arguments = 0, command.arguments
    while at < len(arguments) and SED_FLAGS.fullmatch(arguments[at].text):
        at += 1
    _check_program(command, arguments[at : at + 1], SED)
    for place in range(at + 1, len(arguments)):
        if arguments[place].has_hole and not _is_operand(arguments, place, _NO_OPTIONS):
            _refuse(
                arguments[place],
                "a value that begins with - would be an option of sed, which can run programs; put "
                "-- before it",
            )


def _awk(command: Command) -> None:
    at, arguments = 0, command.arguments
    while at < len(arguments) and arguments[at].text.startswith(("-F", "-v")):
        flag = arguments[at]
        at += 1
        if not flag.is_literal or (flag.text.startswith("-v") and flag.text != "-v"):
            _refuse(flag, "options of awk must be written out, as -F: or -v name=value")
        if flag.text in ("-F", "-v"):
            value = arguments[at : at + 1]
            set_ = _SET.match(value[0].text) if value else None
            if flag.text == "-v" and (set_ is None or value[0].globs):
                _refuse(flag, "-v of awk takes name=value")
            at += 1
    _check_program(command, arguments[at : at + 1], AWK)


def _check_program(command: Command, program: Words, allowed: re.Pattern[str]) -> None:
    name = command.name
    if not program or program[0].has_hole:
        at = program[0] if program else command.word
        _refuse(at, f"{name} would read the text of a param as code; {_ELSE}")
    if not (program[0].is_literal and allowed.fullmatch(program[0].text)):
        _refuse(program[0], f"this program of {name} is not simple enough beside a param; {_ELSE}")


def _find(command: Command) -> None:
    at, arguments = 0, command.arguments
    while at < len(arguments):
        argument = arguments[at]
        if argument.text in FIND_RUNS:
            end = at + 1
            while end < len(arguments) and arguments[end].text not in (";", "+"):
                end += 1
            # A file that is found below the value is as much its choice.
            run = arguments[at + 1 : end]
            inner = [one._replace(text=one.text.replace("{}", HOLE)) for one in run]
            if inner and unwrapped(inner)[0] in ("find", "xargs"):
                _refuse(inner[0], f"{inner[0].text} inside of find cannot be read safely")
            if inner:
                check_command(inner, given=command.given)
            at = end
        elif argument.has_hole and arguments[at - 1].text not in FIND_VALUES:
            _check_start(argument)
        at += 1


def _check_start(argument: Word) -> None:
    """Raise unless a word can only be a place that find begins at."""
    if argument.text[0] in f"{HOLE}{VARIES}-!(),":
        _refuse(
            argument,
            "a value that begins with - would be an option of find; put ./ before it, or give it "
            "to -name or the like",
        )


def _xargs(command: Command) -> None:
    if command.given:
        _refuse(command.word, "xargs would read the text of a param as commands or arguments")
    inner = after_wrapper("xargs", command.arguments, XARGS)
    if not inner:
        return
    name, program, _ = unwrapped(inner)
    if name not in DATA or name in ("test", "["):
        _refuse(program, f"xargs may run nothing but a simple program beside a param; {_ELSE}")


def _is_of_the_project(word: Word) -> bool:
    return "/" in word.text and not word.text.startswith("/")


def _refuse_program(word: Word, name: str, arguments: Words) -> NoReturn:
    hole = next((one for one in arguments if one.has_hole), None)
    if name in RUNNERS:
        what = "commands or arguments" if hole is None else "code"
        _refuse(hole or word, f"{name} would read the text of a param as {what}; {_ELSE}")
    _refuse(
        hole or word,
        f"{name} is not known to take the text of a param for nothing but text; {_ELSE}",
    )


def _refuse(word: Word, message: str) -> NoReturn:
    raise Refusal(word.offset, message)


_NO_OPTIONS: Final = Tool(None, loose=False, values=frozenset())
_SHAPES: Final[dict[str, Callable[[Command], None]]] = {
    **{"test": _test, "[": _test, "printf": _printf, "sed": _sed, "gsed": _sed},
    **dict.fromkeys(("awk", "gawk", "mawk", "nawk"), _awk),
    **{"find": _find, "xargs": _xargs},
}
