"""Put `${name}` for `{{name}}` into a shell script, quoted as the place of each asks for.

The reader follows the quoting of a POSIX shell. Where shells differ, or where a value would be
read a second time as shell text, the script is refused: a wrong guess would let a parameter become
a second argument or a second command.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NoReturn

from mcp_jobs.declared.commands import HOLE, Pipeline

_PLACEHOLDER: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_-]*)\s*\}\}")
_DELIMITER: Final = re.compile(r"""<<(-?)[ \t]*((?:\\.|'[^'\n]*'|"[^"\n]*"|[^\s;&|<>()'"\\])+)""")
_ENDS_WORD: Final = frozenset(" \t<>&|")
_ENDS_COMMAND: Final = frozenset("()")
_HARD: Final = frozenset("'\"`\\#")


class ScriptError(ValueError):
    """Why a script is refused, and the offset in its text."""

    def __init__(self, offset: int, message: str) -> None:
        self.offset = offset
        super().__init__(message)


def translate(script: str, names: Collection[str]) -> str:
    """Return the script with variables instead of placeholders. Raises `ScriptError`."""
    if not _PLACEHOLDER.search(script):
        return script
    return _Reader(script, names).read()


class _Reader:
    """Reads a script from left to right; `_at` is how far it is."""

    def __init__(self, script: str, names: Collection[str]) -> None:
        self._script = script
        self._names = names
        self._at = 0
        self._out: list[str] = []
        self._heredocs: list[tuple[str, bool]] = []
        self._pipeline = Pipeline()

    def read(self) -> str:
        self._bare(closing="")
        self._end_pipeline()
        if self._pipeline.eval_at is not None:
            self._fail("eval would run the text of a param as commands", self._pipeline.eval_at)
        return "".join(self._out)

    # -- outside of quotes ---------------------------------------------------------------------

    def _bare(self, *, closing: str) -> None:
        """Read up to the closing parenthesis of a substitution, or to the end."""
        opened, depth = self._at, 0
        while self._at < len(self._script):
            character = self._script[self._at]
            if character == ")" and closing:
                depth -= 1
                if depth < 0:
                    self._take(1)
                    return
            elif character == "(":
                depth += 1
            if closing and self._pipeline.starts_word() and self._next_word() == "case":
                self._fail("case inside $(...) cannot be read safely")
            self._step(character, nested=bool(closing))
        if closing:
            self._fail("$( is not closed", opened)

    def _step(self, character: str, *, nested: bool) -> None:
        if self._placeholder('"${%s}"', nested=nested):
            return
        if character in "'\"":
            self._quoted(character, nested=nested)
        elif character == "\\":
            self._escape()
        elif character == "$":
            self._dollar(quoted=False)
        elif character == "`":
            self._backquotes()
        elif character == "#" and self._pipeline.starts_word():
            self._comment()
        elif character == "\n":
            self._line_end()
        else:
            self._plain(character)

    def _line_end(self) -> None:
        if not self._pipeline.continues:
            self._end_pipeline()
        self._take(1)
        self._heredoc_bodies()

    def _plain(self, character: str) -> None:
        if character == "<" and self._script.startswith("<<", self._at):
            self._heredoc()
            return
        if character in ";&|" and not self._redirects():
            self._separator(character)
            return
        if character in _ENDS_COMMAND:
            self._no_arithmetic(character)
            self._pipeline.end_command()
        elif character in _ENDS_WORD:
            self._pipeline.end_word()
        else:
            if self._pipeline.starts_word() and self._script.startswith("[[", self._at):
                self._no_placeholder_until("]]", "[[ ... ]]")
            self._pipeline.add(character, self._at)
        self._take(1)

    def _separator(self, character: str) -> None:
        if character == "|" and not self._script.startswith("||", self._at):
            self._pipeline.pipe()
            self._take(2 if self._script.startswith("|&", self._at) else 1)
            return
        self._end_pipeline()
        self._take(2 if self._script[self._at : self._at + 2] in ("||", "&&", ";;") else 1)

    def _redirects(self) -> bool:
        """Say whether an & or | belongs to a redirection: 2>&1, &>file, >|file."""
        before = self._script[self._at - 1 : self._at] if self._at else ""
        after = self._script[self._at + 1 : self._at + 2]
        return before in ("<", ">") or (self._script[self._at] == "&" and after == ">")

    def _end_pipeline(self) -> None:
        refusal = self._pipeline.end()
        if refusal is not None:
            self._fail(refusal.message, refusal.offset)

    def _no_arithmetic(self, character: str) -> None:
        if character == "(" and self._script.startswith("((", self._at):
            self._no_placeholder_until("))", "(( ... ))")

    def _no_placeholder_until(self, end: str, what: str) -> None:
        stop = self._script.find(end, self._at)
        found = _PLACEHOLDER.search(self._script, self._at, len(self._script) if stop < 0 else stop)
        if found:
            self._fail(f"{found.group()} inside {what} would be evaluated", found.start())

    def _escape(self) -> None:
        if _PLACEHOLDER.match(self._script, self._at + 1):
            self._fail("a backslash before a placeholder is not allowed")
        escaped = self._script[self._at + 1 : self._at + 2]
        if escaped != "\n":
            self._pipeline.add(escaped, self._at)
        self._take(2)

    def _comment(self) -> None:
        end = self._script.find("\n", self._at)
        self._take((len(self._script) if end < 0 else end) - self._at)

    # -- quotes --------------------------------------------------------------------------------

    def _quoted(self, quote: str, *, nested: bool) -> None:
        opened = self._at
        self._pipeline.add("", opened)
        self._take(1)
        form = "${%s}" if quote == '"' else "'\"${%s}\"'"
        while self._at < len(self._script):
            character = self._script[self._at]
            if character == quote:
                self._take(1)
                return
            if self._placeholder(form, nested=nested):
                continue
            if quote == '"' and character == "\\":
                self._escape()
            elif quote == '"' and character == "$":
                self._dollar(quoted=True)
            elif quote == '"' and character == "`":
                self._backquotes()
            else:
                self._pipeline.add(character, self._at)
                self._take(1)
        self._fail("a quote is not closed", opened)

    def _dollar(self, *, quoted: bool) -> None:
        rest = self._script[self._at + 1 : self._at + 3]
        if _PLACEHOLDER.match(self._script, self._at + 1):
            self._fail("a $ before a placeholder is not allowed")
        if rest[:1] in ("'", '"') and rest and not quoted:
            self._fail(f"${rest[0]}...{rest[0]} means different things to different shells")
        self._pipeline.add("$", self._at)
        if rest == "((":
            self._arithmetic()
        elif rest[:1] == "(":
            outer, self._pipeline = self._pipeline, Pipeline()
            self._take(2)
            self._bare(closing=")")
            self._end_pipeline()
            outer.eval_at = self._pipeline.eval_at if outer.eval_at is None else outer.eval_at
            self._pipeline = outer
        elif rest[:1] == "{":
            self._expansion()
        else:
            self._take(1)

    def _arithmetic(self) -> None:
        opened, depth = self._at, 0
        self._take(1)
        while self._at < len(self._script):
            self._refuse_placeholder("$((...))")
            character = self._script[self._at]
            if character in _HARD:
                self._fail(f"{character} inside $((...)) cannot be read safely")
            depth += (character == "(") - (character == ")")
            self._take(1)
            if depth == 0:
                return
        self._fail("$(( is not closed", opened)

    def _expansion(self) -> None:
        opened, depth = self._at, 0
        self._take(1)
        while self._at < len(self._script):
            self._refuse_placeholder("${...}")
            character = self._script[self._at]
            if character in _HARD and character != "#":
                self._fail(f"{character} inside ${{...}} cannot be read safely")
            depth += (character == "{") - (character == "}")
            self._take(1)
            if depth == 0:
                return
        self._fail("${ is not closed", opened)

    def _backquotes(self) -> None:
        opened = self._at
        self._take(1)
        while self._at < len(self._script):
            self._refuse_placeholder("backquotes")
            character = self._script[self._at]
            self._take(2 if character == "\\" else 1)
            if character == "`":
                return
        self._fail("a backquote is not closed", opened)

    # -- here-documents ------------------------------------------------------------------------

    def _heredoc(self) -> None:
        self._pipeline.end_word()
        if self._script.startswith("<<<", self._at):
            self._take(3)
            return
        found = _DELIMITER.match(self._script, self._at)
        if found is None or _PLACEHOLDER.search(found.group()):
            self._fail("the delimiter of a here-document cannot be read")
        delimiter = re.sub(r"""\\(.)|['"]""", r"\1", found.group(2))
        self._heredocs.append((delimiter, bool(found.group(1))))
        self._take(len(found.group()))

    def _heredoc_bodies(self) -> None:
        pending, self._heredocs = self._heredocs, []
        for delimiter, strips_tabs in pending:
            while self._at < len(self._script):
                end = self._script.find("\n", self._at)
                end = len(self._script) if end < 0 else end + 1
                line = self._script[self._at : end]
                found = _PLACEHOLDER.search(line)
                if found:
                    self._fail(
                        f"{found.group()} in a here-document is not allowed",
                        self._at + found.start(),
                    )
                self._take(len(line))
                if (line.lstrip("\t") if strips_tabs else line).rstrip("\n") == delimiter:
                    break

    # -- placeholders --------------------------------------------------------------------------

    def _placeholder(self, form: str, *, nested: bool) -> bool:
        found = _PLACEHOLDER.match(self._script, self._at)
        if found is None:
            return False
        name = found.group(1)
        if nested:
            self._fail(f"{found.group()} inside $(...) is not allowed")
        if name not in self._names:
            known = ", ".join(self._names) or "none"
            self._fail(f"there is no parameter {name!r}; the parameters are: {known}")
        self._pipeline.add(HOLE, self._at)
        self._out.append(form % name)
        self._at = found.end()
        return True

    def _refuse_placeholder(self, what: str) -> None:
        found = _PLACEHOLDER.match(self._script, self._at)
        if found is not None:
            self._fail(f"{found.group()} inside {what} is not allowed")

    # -- small things --------------------------------------------------------------------------

    def _take(self, count: int) -> None:
        self._out.append(self._script[self._at : self._at + count])
        self._at += count

    def _next_word(self) -> str:
        found = re.compile(r"[a-z]+").match(self._script, self._at)
        return found.group() if found else ""

    def _fail(self, message: str, offset: int | None = None) -> NoReturn:
        raise ScriptError(self._at if offset is None else offset, message)
