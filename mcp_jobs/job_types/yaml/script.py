"""Put `${name}` for `{{name}}` into a shell script, quoted as the place of each asks for.

The reader follows the quoting of a POSIX shell and cuts the script into words; `script_safety` then
looks at what each of them is given to. Where shells differ, or where a value would be read a second
time, the script is refused: a wrong guess would let a parameter become an argument or a command.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NoReturn

from mcp_jobs.job_types.yaml.script_safety import check
from mcp_jobs.job_types.yaml.shell_words import HOLE, VARIES, Refusal, Sign, Token, Use, WordBuilder
from mcp_jobs.job_types.yaml.taint import tainted

LIMIT_CHARS: Final = 16 << 10
"""Longest script with placeholders: reading one holds the server up."""
_DEPTH_LIMIT: Final = 8

_PLACEHOLDER: Final = re.compile(r"\{\{\s{0,9}([A-Za-z_][A-Za-z0-9_-]*)\s{0,9}\}\}")
_DELIMITER: Final = re.compile(r"""<<(-?)[ \t]*((?:\\.|'[^'\n]*'|"[^"\n]*"|[^\s;&|<>()'"\\])+)""")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:,+%@^=-]+")
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\+?=")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXPANDED: Final = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
_SPECIAL: Final = re.compile(r"[0-9@*#?$!-]")
_BRACED: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_REDIRECTION: Final = re.compile(r"<<<|<>|<&|>&|>>|>\||&>>|&>|<|>")
_SEPARATOR: Final = re.compile(r"&&|\|\||\|&|;;|[;&|]")
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
    try:
        if len(script) > LIMIT_CHARS:
            raise Refusal(
                0,
                f"a script with placeholders has at most {LIMIT_CHARS} characters, not "
                f"{len(script)}; put the rest into a file of its own",
            )
        reader = _Reader(script, names)
        made = reader.read()
        held = tainted(reader.tokens, reader.inner, names)
        check(reader.tokens, reader.inner, reader.uses, held)
        return made
    except Refusal as refusal:
        raise ScriptError(refusal.offset, str(refusal)) from None


class _Reader:
    """Reads a script from left to right; `_at` is how far it is."""

    def __init__(self, script: str, names: Collection[str]) -> None:
        self.tokens: list[Token] = []
        self.inner: list[list[Token]] = []
        """The tokens of each `$(...)`."""
        self.uses: list[Use] = []
        """What is used outside of words, in here-documents."""
        self._script = script
        self._names = names
        self._at = 0
        self._depth = 0
        self._out: list[str] = []
        self._heredocs: list[tuple[str, bool, bool]] = []
        self._word: WordBuilder | None = None

    def read(self) -> str:
        self._bare(closing="")
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
                    self._end_word()
                    self._take(1)
                    return
            elif character == "(":
                depth += 1
            if closing and self._word is None and re.match(r"case\b", self._script[self._at :][:5]):
                self._fail("case inside $(...) cannot be read safely")
            self._step(character)
        self._end_word()
        if closing:
            self._fail("$( is not closed", opened)

    def _step(self, character: str) -> None:
        if character == "{" and self._placeholder('"${%s}"'):
            return
        found = _PLAIN.match(self._script, self._at)
        if found is not None:
            self._begin().add(found.group())
            self._take(len(found.group()))
        elif character in "'\"":
            self._quoted(character)
        elif character == "\\":
            self._escape()
        elif character == "$":
            self._dollar(quoted=False)
        elif character == "`":
            self._fail("backquotes cannot be read safely; write $(...) instead")
        elif character == "#" and self._word is None:
            self._comment()
        elif character in " \t":
            self._end_word()
            self._take(1)
        elif character == "\n":
            self._line_end()
        else:
            self._sign(character)

    def _line_end(self) -> None:
        self._add_sign("\n")
        self._heredoc_bodies()

    def _sign(self, character: str) -> None:
        if self._script.startswith("<<", self._at) and not self._script.startswith("<<<", self._at):
            self._heredoc()
            return
        if self._script.startswith(("<(", ">("), self._at):
            self._fail("<(...) and >(...) cannot be read safely")
        if self._script.startswith("((", self._at):
            self._fail("(( ... )) cannot be read safely; write [ ... ], or $((...)) for numbers")
        redirection = _REDIRECTION.match(self._script, self._at)
        found = redirection or _SEPARATOR.match(self._script, self._at)
        if redirection and self._word is not None and self._word.is_number():
            self._word = None
        if found is not None or character in "()":
            self._add_sign(found.group() if found is not None else character)
            return
        word = self._begin()
        word.globs = word.globs or character in "*?["
        word.braces = word.braces or character in "{}"
        word.add(character)
        self._take(1)

    def _add_sign(self, text: str) -> None:
        self._end_word()
        self.tokens.append(Sign(text, self._at))
        self._take(len(text))

    def _escape(self) -> None:
        if _PLACEHOLDER.match(self._script, self._at + 1):
            self._fail("a backslash before a placeholder is not allowed")
        escaped = self._script[self._at + 1 : self._at + 2]
        if escaped == "\n":
            # Anywhere else it could stand inside of a name or an operator.
            if self._script[self._at - 1 : self._at] not in (" ", "\t"):
                self._fail("a line may be continued only after a space")
            self._take(2)
            return
        self._begin().bare = False
        if escaped == "$":
            self._note_uses(self._at + 1, _EXPANDED.match(self._script, self._at + 1))
        self._begin().add(escaped)
        self._take(2)

    def _comment(self) -> None:
        end = self._script.find("\n", self._at)
        self._take((len(self._script) if end < 0 else end) - self._at)

    # -- quotes --------------------------------------------------------------------------------

    def _quoted(self, quote: str) -> None:
        opened, word = self._at, self._begin()
        word.bare = False
        self._take(1)
        form = "${%s}" if quote == '"' else "'\"${%s}\"'"
        plain = re.compile(r'[^"\\$`{]+' if quote == '"' else r"[^'{$]+")
        while self._at < len(self._script):
            character = self._script[self._at]
            found = plain.match(self._script, self._at)
            if found is not None:
                word.add(found.group())
                self._take(len(found.group()))
            elif character == quote:
                self._take(1)
                return
            elif character == "{" and self._placeholder(form):
                continue
            elif quote == '"' and character == "\\":
                self._escape()
            elif quote == '"' and character == "$":
                self._dollar(quoted=True)
            elif quote == '"' and character == "`":
                self._fail("backquotes cannot be read safely; write $(...) instead")
            else:
                if character == "$":
                    # What is started with this text may be a shell.
                    self._note_uses(self._at, _EXPANDED.match(self._script, self._at))
                word.add(character)
                self._take(1)
        self._fail("a quote is not closed", opened)

    def _dollar(self, *, quoted: bool) -> None:
        if _PLACEHOLDER.match(self._script, self._at + 1):
            self._fail("a $ before a placeholder is not allowed")
        rest = self._script[self._at + 1 : self._at + 3]
        if rest[:1] in ("'", '"') and rest and not quoted:
            self._fail(f"${rest[0]}...{rest[0]} means different things to different shells")
        word = self._begin()
        if rest == "((":
            word.add(VARIES)
            self._arithmetic()
        elif rest[:1] == "(":
            word.add(VARIES)
            word.splits, word.runs = word.splits or not quoted, True
            self._substitution()
        elif rest[:1] == "{":
            self._expansion(quoted=quoted)
        else:
            self._variable(quoted=quoted)

    def _variable(self, *, quoted: bool) -> None:
        word = self._begin()
        name = _NAME.match(self._script, self._at + 1)
        special = _SPECIAL.match(self._script, self._at + 1)
        if name is None and special is None:
            word.add("$")
            self._take(1)
            return
        word.add(VARIES)
        word.splits = word.splits or not quoted or (special is not None and special.group() == "@")
        if name is not None:
            plain = quoted or word.assigns is not None
            word.uses.append(Use(name.group(), self._at, plain))
        self._take(1 + len((name or special or _never()).group()))

    def _substitution(self) -> None:
        if self._heredocs:
            self._fail("$(...) after the beginning of a here-document cannot be read safely")
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            self._fail(f"$(...) inside $(...) more than {_DEPTH_LIMIT} times")
        outer, self.tokens = self.tokens, []
        word, self._word = self._word, None
        self._take(2)
        self._bare(closing=")")
        if self._heredocs:
            self._fail("a here-document is not closed inside $(...)")
        self.inner.append(self.tokens)
        self.tokens, self._word = outer, word
        self._depth -= 1

    def _arithmetic(self) -> None:
        opened, depth = self._at, 0
        self._take(1)
        while self._at < len(self._script):
            self._refuse_placeholder("$((...))")
            character = self._script[self._at]
            if character in _HARD:
                self._fail(f"{character} inside $((...)) cannot be read safely")
            name = _NAME.match(self._script, self._at)
            if name is not None:
                self._begin().uses.append(Use(name.group(), self._at, plain=False))
                self._take(len(name.group()))
                continue
            depth += (character == "(") - (character == ")")
            self._take(1)
            if depth == 0:
                return
        self._fail("$(( is not closed", opened)

    def _expansion(self, *, quoted: bool) -> None:
        opened, depth, word = self._at, 0, self._begin()
        simple = _BRACED.match(self._script, self._at + 1)
        word.add(VARIES)
        word.splits = word.splits or not quoted
        if self._script.startswith("${!", self._at):
            self._fail("${!...} cannot be read safely")
        self._take(1)
        while self._at < len(self._script):
            self._refuse_placeholder("${...}")
            character = self._script[self._at]
            if character in _HARD and character != "#":
                self._fail(f"{character} inside ${{...}} cannot be read safely")
            if self._script.startswith("$(", self._at):
                self._fail("$(...) inside ${...} cannot be read safely")
            name = _NAME.match(self._script, self._at)
            if name is not None:
                plain = simple is not None and (quoted or word.assigns is not None)
                word.uses.append(Use(name.group(), self._at, plain))
                self._take(len(name.group()))
                continue
            depth += (character == "{") - (character == "}")
            self._take(1)
            if depth == 0:
                return
        self._fail("${ is not closed", opened)

    # -- here-documents ------------------------------------------------------------------------

    def _heredoc(self) -> None:
        if self._word is not None and self._word.is_number():
            self._word = None
        self._end_word()
        found = _DELIMITER.match(self._script, self._at)
        if found is None or _PLACEHOLDER.search(found.group()) or "\n" in found.group():
            self._fail("the delimiter of a here-document cannot be read")
        written = found.group(2)
        delimiter = re.sub(r"""\\(.)|['"]""", r"\1", written)
        self._heredocs.append((delimiter, bool(found.group(1)), delimiter == written))
        self.tokens.append(Sign("<<", self._at))
        self._take(len(found.group()))

    def _heredoc_bodies(self) -> None:
        pending, self._heredocs = self._heredocs, []
        for delimiter, strips_tabs, expands in pending:
            while self._at < len(self._script):
                end = self._script.find("\n", self._at)
                end = len(self._script) if end < 0 else end + 1
                line = self._script[self._at : end]
                self._check_body(line, expands=expands)
                self._take(len(line))
                if (line.lstrip("\t") if strips_tabs else line).rstrip("\n") == delimiter:
                    break

    def _check_body(self, line: str, *, expands: bool) -> None:
        found = _PLACEHOLDER.search(line)
        if found:
            self._fail(
                f"{found.group()} in a here-document is not allowed", self._at + found.start()
            )
        if expands and ("$(" in line or "`" in line):
            self._fail("a substitution in a here-document cannot be read safely")
        for use in _EXPANDED.finditer(line):
            self.uses.append(Use(use.group(1), self._at + use.start(), plain=False))

    # -- placeholders --------------------------------------------------------------------------

    def _placeholder(self, form: str) -> bool:
        found = _PLACEHOLDER.match(self._script, self._at)
        if found is None:
            return False
        name = found.group(1)
        if self._depth:
            self._fail(f"{found.group()} inside $(...) is not allowed")
        if name not in self._names:
            known = ", ".join(self._names) or "none"
            self._fail(f"there is no parameter {name!r}; the parameters are: {known}")
        word = self._begin()
        word.bare = False
        word.add(HOLE)
        self._out.append(form % name)
        self._at = found.end()
        return True

    def _refuse_placeholder(self, what: str) -> None:
        found = _PLACEHOLDER.match(self._script, self._at)
        if found is not None:
            self._fail(f"{found.group()} inside {what} is not allowed")

    # -- small things --------------------------------------------------------------------------

    def _begin(self) -> WordBuilder:
        if self._word is None:
            found = _ASSIGNMENT.match(self._script, self._at)
            self._word = WordBuilder(self._at, found.group(1) if found is not None else None)
        return self._word

    def _end_word(self) -> None:
        if self._word is not None:
            self.tokens.append(self._word.built())
            self._word = None

    def _note_uses(self, offset: int, found: re.Match[str] | None) -> None:
        if found is not None:
            self._begin().uses.append(Use(found.group(1), offset, plain=False))

    def _take(self, count: int) -> None:
        self._out.append(self._script[self._at : self._at + count])
        self._at += count

    def _fail(self, message: str, offset: int | None = None) -> NoReturn:
        raise Refusal(self._at if offset is None else offset, message)


def _never() -> NoReturn:
    raise AssertionError
