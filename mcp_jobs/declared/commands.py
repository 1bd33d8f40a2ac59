"""Which commands of a script must not be given a parameter, since they read text as commands."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

HOLE: Final = "\0"
"""Stands for a placeholder in a word."""

_SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "fish", "busybox"})
_REREADS: Final = frozenset(
    {
        *("eval", "trap", "alias", "let", "declare", "typeset", "unset", "read", "mapfile"),
        *("readarray", "getopts", "[[", "ssh", "rsh", "su", "runuser", "watch", "parallel"),
        *("script", "expect", "at", "batch", "crontab"),
    }
)
"""They take what they are given for shell text, names of variables or arithmetic."""
_SPLITS_INPUT: Final = frozenset({*_SHELLS, "xargs", "parallel", "ssh", "at", "batch", "crontab"})
"""They run, or cut into arguments, what comes in through a pipe."""
_CODE_FLAGS: Final = (
    (re.compile(r"(?:ba|da|z|k|mk|a|fi)?sh|busybox"), re.compile(r"-[A-Za-z]*c[A-Za-z]*")),
    (re.compile(r"python[0-9.]*|pypy[0-9.]*"), re.compile(r"-[A-Za-z]*c")),
    (re.compile(r"perl|ruby"), re.compile(r"-[A-Za-z]*[eE]")),
    (re.compile(r"node|deno|bun"), re.compile(r"-[ep]|-pe|--eval|--print|eval")),
    (re.compile(r"php"), re.compile(r"-[rBRE]")),
)
_PROGRAM_FIRST: Final = re.compile(r"[gmn]?awk|g?sed")
_PROGRAM_FLAGS: Final = ("-e", "-f", "--expression", "--file", "-E")
_BEFORE_PROGRAM: Final = frozenset(
    {"if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "exec", "command"}
)
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_ENDS_GROUP: Final = ("}", "done", "fi", "esac")
_VALUE_FLAGS: Final = ("-v", "-F")


class Refusal(NamedTuple):
    """Why a command is refused, and where in the script."""

    message: str
    offset: int


class Pipeline:
    """The words of the commands that are being read, quotes removed, holes for placeholders."""

    def __init__(self) -> None:
        self.eval_at: int | None = None
        """Where the first `eval` of the script stands."""
        self._commands: list[list[str]] = []
        self._words: list[str] = []
        self._word: str | None = None
        self._word_at = 0
        self._hole_at: int | None = None
        self._had_hole = False
        self.continues = False
        """A pipe came last, so that a line end does not end the pipeline."""

    def starts_word(self) -> bool:
        """Say whether no word has begun."""
        return self._word is None

    def add(self, text: str, offset: int) -> None:
        """Add to the word that is being read."""
        if self._word is None:
            self._word, self._word_at, self.continues = "", offset, False
        self._word += text
        if text == HOLE and self._hole_at is None:
            self._hole_at = offset

    def end_word(self) -> None:
        """End the word, if one has begun."""
        if self._word is None:
            return
        if self._word == "eval" and self.eval_at is None:
            self.eval_at = self._word_at
        self._words.append(self._word)
        self._word = None

    def pipe(self) -> None:
        """End one command, whose output the next one reads."""
        self.end_command()
        self.continues = True

    def end_command(self) -> None:
        """End one command of the pipeline."""
        self.end_word()
        if self._words:
            self._commands.append(self._words)
        self._words = []

    def end(self) -> Refusal | None:
        """End the pipeline; returns why it is refused, if it is."""
        self.end_command()
        commands, self._commands = self._commands, []
        hole_at, self._hole_at = self._hole_at, None
        # What a group or a loop prints may be a parameter that stood in it.
        given = self._had_hole and bool(commands) and commands[0][0] in _ENDS_GROUP
        self._had_hole = self._had_hole or hole_at is not None
        if hole_at is None and not given:
            return None
        message = _problem(commands, given=given)
        offset = self._word_at if hole_at is None else hole_at
        return None if message is None else Refusal(message, offset)


def _problem(commands: list[list[str]], *, given: bool) -> str | None:
    for words in commands:
        if given and (reader := _first(words, _SPLITS_INPUT)):
            return f"{reader} would read the text of a param as commands or arguments"
        if HOLE in _program(words):
            return "a param cannot be the name of the program, or a part of it"
        holes = [index for index, word in enumerate(words) if HOLE in word]
        given = given or bool(holes)
        for index in holes:
            if found := _rereads(words, index):
                return f"{found} would read the text of a param as code"
    return None


def _program(words: list[str]) -> str:
    """Return the word that names the program; an empty text where there is none."""
    for word in words:
        if word not in _BEFORE_PROGRAM and not _ASSIGNMENT.match(word):
            return word
    return ""


def _rereads(words: list[str], index: int) -> str | None:
    """Name the program that would take the word at `index` for code, if one would."""
    before = words[:index]
    found = _first(words, _REREADS)
    if found:
        return found
    flag = before[-1] if before else ""
    for program, code_flag in _CODE_FLAGS:
        named = [word for word in before if program.fullmatch(_base(word))]
        glued = code_flag.match(words[index]) if words[index].startswith("-") else None
        if named and (code_flag.fullmatch(flag) or glued):
            return f"{_base(named[0])} {flag}"
    for position, word in enumerate(before):
        if _PROGRAM_FIRST.fullmatch(_base(word)) and _is_program(words, position + 1, index):
            return _base(word)
    return None


def _is_program(words: list[str], first: int, index: int) -> bool:
    """Say whether the word at `index` is, or belongs to, the program of awk or sed."""
    if words[index - 1] in _PROGRAM_FLAGS or words[index].startswith("-"):
        return True
    if words[index - 1] in _VALUE_FLAGS:
        return False
    between = words[first:index]
    if any(word.startswith(_PROGRAM_FLAGS) for word in between):
        return False
    operands = [
        word
        for place, word in enumerate(between)
        if not word.startswith("-") and (place == 0 or between[place - 1] not in _VALUE_FLAGS)
    ]
    return not operands


def _first(words: list[str], names: frozenset[str]) -> str | None:
    return next((_base(word) for word in words if _base(word) in names), None)


def _base(word: str) -> str:
    return word.rpartition("/")[2]
