"""Where in a script the text of a parameter goes: to which commands, and through which pipes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from mcp_jobs.job_types.yaml.programs import DEFINES
from mcp_jobs.job_types.yaml.shapes import check_assignment, check_command
from mcp_jobs.job_types.yaml.shell_words import HOLE, VARIES, Refusal, Sign, Token, Use, Word

_OPENS: Final = {"if": "if", "while": "loop", "until": "loop", "{": "{"}
_CLOSES: Final = {"fi": "if", "done": "loop", "}": "{", "esac": "case"}
_GOES_ON: Final = frozenset({"then", "else", "elif", "do", "!"})
_NOT_READ: Final = frozenset({"[[", "function", "select", "coproc"})
_ENDS: Final = frozenset({";", "\n", "&", "&&", "||"})
_PIPES: Final = frozenset({"|", "|&"})
_INPUTS: Final = frozenset({"<", "<>", "<<<"})
_REDIRECTIONS: Final = _INPUTS | {">", ">>", ">|", "&>", "&>>", "<&", ">&"}
_PREFIXES: Final = frozenset({"command", "builtin", "exec", "-p", "--"})
_DEPTH_LIMIT: Final = 100


def check(
    tokens: Sequence[Token],
    inner: Iterable[Sequence[Token]],
    uses: Iterable[Use],
    held: Collection[str],
) -> None:
    """Raise `Refusal` unless the text of each parameter stays text.

    `inner` are the tokens of each `$(...)`, `uses` the variables in here-documents, and `held` the
    variables that hold such texts.
    """
    _check_uses(uses, held)
    for found in inner:
        for word in found:
            if isinstance(word, Word):
                _check_uses(word.uses, held, nested=True)
        _Script(held).read(found)
    _Script(held).read(tokens)


def _check_uses(uses: Iterable[Use], held: Collection[str], *, nested: bool = False) -> None:
    for use in uses:
        if use.name in held and (nested or not use.plain):
            where = "inside $(...)" if nested else "here"
            raise Refusal(
                use.offset,
                f"{use.name} holds the text of a param and would be read again {where}; write it "
                'in double quotes, as "$' + f'{use.name}", as an argument',
            )


@dataclass(slots=True)
class _Frame:
    """A group, a loop or the like that is being read."""

    kind: str
    given: bool
    """The input of what stands in it may hold the text of a parameter."""
    holds: bool = False
    """What it prints may hold it."""
    outer_given: bool = False
    outer_held: bool = False
    state: str = ""
    """Of `for` and `case`: what must come next."""


class _Script:
    """Reads the tokens of a script from left to right."""

    def __init__(self, held: Collection[str]) -> None:
        self._held_names = held
        self._frames = [_Frame("", given=False)]
        self._words: list[Word] = []
        self._redirection: str | None = None
        self._input_hole: Word | None = None
        self._given = False
        """The input of this command may hold the text of a parameter."""
        self._held = False
        """What the commands of this pipeline print may hold it."""
        self._closed = False
        """A group has just ended; only redirections may follow."""

    def read(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            if isinstance(token, Word):
                self._word(self._marked(token))
            else:
                self._sign(token)
        self._end_pipeline()
        if len(self._frames) > 1:
            offset = tokens[-1].offset if tokens else 0
            self._refuse(offset, f"{self._frames[-1].kind} is not closed")

    def _marked(self, word: Word) -> Word:
        """Put holes where a variable holds the text of a parameter."""
        _check_uses(word.uses, self._held_names)
        if any(use.name in self._held_names for use in word.uses):
            # `"$x"` splits nothing; where it did, it was refused just now or is an assignment.
            return word._replace(text=word.text.replace(VARIES, HOLE))
        return word

    # -- words ---------------------------------------------------------------------------------

    def _word(self, word: Word) -> None:
        frame = self._frames[-1]
        if self._redirection is not None:
            self._target(word)
        elif frame.kind in ("for", "case") and frame.state:
            self._head(frame, word)
        elif self._words or not word.bare or not self._reserved(word):
            if self._closed:
                self._refuse(word.offset, "this cannot be read after the end of a group")
            self._words.append(word)

    def _reserved(self, word: Word) -> bool:
        text = word.text
        known = {*_OPENS, *_CLOSES, *_GOES_ON, *_NOT_READ, "for", "case"}
        if text not in known:
            return False
        if text in _NOT_READ or self._input_hole is not None:
            self._refuse(word.offset, f"{text} cannot be read safely beside a param")
        if text in _CLOSES:
            self._end_pipeline()
            self._close(word.offset, _CLOSES[text])
        elif text in ("for", "case"):
            self._open(word.offset, text)
            self._frames[-1].state = "name" if text == "for" else "subject"
        elif text in _OPENS:
            self._open(word.offset, _OPENS[text])
        elif self._closed:
            self._refuse(word.offset, f"{text} cannot be read here")
        return True

    def _head(self, frame: _Frame, word: Word) -> None:
        """Read what stands before the commands of a `for` or a `case`."""
        if word.has_hole:
            frame.holds = True
            if word.splits:
                self._refuse(word.offset, "this may become several words; put it in double quotes")
        if frame.given and word.runs:
            self._refuse(word.offset, "$(...) would read the text of a param as its input")
        if frame.state == "name":
            frame.state = "in"
        elif frame.state == "in" and word.bare and word.text == "do" and frame.kind == "for":
            frame.kind, frame.state = "loop", ""
        elif frame.state == "in":
            if not (word.bare and word.text == "in"):
                self._refuse(word.offset, f"{frame.kind} cannot be read here")
            frame.state = "list" if frame.kind == "for" else "pattern"
        elif frame.state == "subject":
            frame.state = "in"
        elif frame.state == "pattern" and word.bare and word.text == "esac":
            self._close(word.offset, "case")

    def _target(self, word: Word) -> None:
        """Read where a redirection leads."""
        redirection, self._redirection = self._redirection, None
        if self._frames[-1].state:
            self._refuse(word.offset, "a redirection cannot be read here")
        if self._given and word.runs:
            self._refuse(word.offset, "$(...) would read the text of a param as its input")
        if not word.has_hole:
            return
        if word.splits or redirection in ("<&", ">&") or (self._closed and redirection in _INPUTS):
            self._refuse(word.offset, "a param cannot be read safely in this redirection")
        self._held = True
        if redirection in _INPUTS:
            self._input_hole = word

    # -- signs ---------------------------------------------------------------------------------

    def _sign(self, sign: Sign) -> None:
        frame, text = self._frames[-1], sign.text
        if self._redirection is not None:
            self._refuse(sign.offset, "a redirection cannot be read here")
        if frame.state:
            self._sign_in_head(frame, sign)
        elif text in _REDIRECTIONS:
            self._redirection = text
        elif text in _ENDS:
            # The end of a line after a pipe or && is none.
            if text != "\n" or self._words or self._closed or self._input_hole:
                self._end_pipeline()
        elif text in _PIPES:
            self._pipe()
        elif text in "()":
            self._parenthesis(sign)
        elif text == ";;" and frame.kind == "case":
            self._end_pipeline()
            frame.state = "pattern"
        elif text != "<<":
            self._refuse(sign.offset, f"{text} cannot be read here")

    def _pipe(self) -> None:
        self._end_command()
        self._given = self._given or self._held
        self._closed = False

    def _parenthesis(self, sign: Sign) -> None:
        if sign.text == ")":
            self._end_pipeline()
            self._close(sign.offset, "(")
            return
        if self._words or self._closed or self._input_hole:
            self._refuse(sign.offset, "( cannot be read here: functions and arrays are refused")
        self._open(sign.offset, "(")

    def _sign_in_head(self, frame: _Frame, sign: Sign) -> None:
        if frame.state == "pattern" and sign.text in ("(", "|", "\n", ")"):
            frame.state = "" if sign.text == ")" else "pattern"
        elif frame.state in ("in", "list") and sign.text == "\n":
            if frame.state == "list":
                frame.kind, frame.state = "loop", ""
        elif frame.kind == "for" and sign.text == ";" and frame.state in ("in", "list"):
            frame.kind, frame.state = "loop", ""
        else:
            self._refuse(sign.offset, f"{sign.text!r} cannot be read here")

    # -- commands, pipelines and groups --------------------------------------------------------

    def _end_command(self) -> None:
        words, self._words = self._words, []
        hole, self._input_hole = self._input_hole, None
        self._forbid(words)
        self._held = self._held or any(word.has_hole for word in words)
        at = 0
        while at < len(words) and (name := words[at].assigns) is not None:
            if words[at].has_hole:
                check_assignment(words[at], name)
            at += 1
        rest = words[at:]
        given = self._given or hole is not None
        # make and others put what is in their environment into commands.
        if rest and (given or any(word.has_hole for word in words)):
            check_command(rest, given=given)
        elif given and (running := next((word for word in words if word.runs), None)):
            self._refuse(running.offset, "$(...) would read the text of a param as its input")

    def _forbid(self, words: Sequence[Word]) -> None:
        """Refuse what makes the words of a script mean something else."""
        if words and words[0].text == "set" and any("k" in word.text for word in words[1:]):
            self._refuse(words[0].offset, "set -k makes variables of arguments")
        may_define = True
        for word in words:
            if word.text == "eval":
                self._refuse(word.offset, "eval would run the text of a param as commands")
            if may_define and word.text in DEFINES:
                self._refuse(word.offset, f"{word.text} cannot be read safely beside a param")
            may_define = may_define and (word.assigns is not None or word.text in _PREFIXES)

    def _end_pipeline(self) -> None:
        if self._redirection is not None:
            self._refuse(0, "a redirection leads nowhere")
        self._end_command()
        frame = self._frames[-1]
        frame.holds = frame.holds or self._held
        self._given, self._held, self._closed = frame.given, False, False

    def _open(self, offset: int, kind: str) -> None:
        if self._closed:
            self._refuse(offset, f"{kind} cannot be read here")
        if len(self._frames) > _DEPTH_LIMIT:
            self._refuse(offset, f"nested deeper than {_DEPTH_LIMIT} levels")
        self._frames.append(
            _Frame(kind, given=self._given, outer_given=self._given, outer_held=self._held)
        )
        self._held = False

    def _close(self, offset: int, kind: str) -> None:
        frame = self._frames.pop() if len(self._frames) > 1 else None
        if frame is None or frame.kind != kind:
            self._refuse(offset, "this closes nothing that is open")
        self._given = frame.outer_given
        self._held = frame.outer_held or frame.holds
        self._closed = True

    def _refuse(self, offset: int, message: str) -> NoReturn:
        raise Refusal(offset, message)
