"""The words and signs of a script, as far as its quoting can be told apart from its text."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

HOLE: Final = "\0"
"""Stands for a placeholder in the text of a word."""
VARIES: Final = "\1"
"""Stands for anything else that the shell puts in."""


class Use(NamedTuple):
    """A name of a variable, where the shell or what it starts may read it."""

    name: str
    offset: int
    plain: bool
    """`"$name"` or `name=$name`: one text, whatever it holds."""


class Word(NamedTuple):
    """A word, its quotes removed."""

    text: str
    offset: int
    bare: bool = True
    """Without any quoting, so that it may be a reserved word."""
    splits: bool = False
    """It may become several words or none."""
    globs: bool = False
    """It may become the names of files."""
    runs: bool = False
    """It has a `$(...)`, whose commands read the same input."""
    uses: tuple[Use, ...] = ()
    assigns: str | None = None
    """The variable that it sets, where it stands before a program."""

    @property
    def has_hole(self) -> bool:
        """Say whether the text of a parameter is in it."""
        return HOLE in self.text

    @property
    def is_literal(self) -> bool:
        """Say whether it is always the same one word."""
        varies = HOLE in self.text or VARIES in self.text
        return not (varies or self.splits or self.globs)


class Sign(NamedTuple):
    """An operator of the shell, or the end of a line."""

    text: str
    offset: int


Token: TypeAlias = Word | Sign


class Refusal(ValueError):
    """Why a script is refused, and the offset in its text."""

    def __init__(self, offset: int, message: str) -> None:
        self.offset = offset
        super().__init__(message)


class WordBuilder:
    """A word that is being read."""

    def __init__(self, offset: int, assigns: str | None) -> None:
        self.offset = offset
        self.assigns = assigns
        self.bare = True
        self.splits = self.globs = self.braces = self.runs = False
        self.uses: list[Use] = []
        self._text: list[str] = []

    def add(self, text: str) -> None:
        """Add text as it stands."""
        self._text.append(text)

    def is_number(self) -> bool:
        """Say whether it is a number without quotes, which before < or > names a descriptor."""
        return self.bare and "".join(self._text).isdigit()

    def built(self) -> Word:
        """Return the word."""
        text = "".join(self._text)
        # The shell leaves an empty pair of braces alone, and one alone is a word of its own.
        braces = (
            self.braces
            and text not in ("{", "}")
            and not {"{", "}"}.isdisjoint(text.replace("{}", ""))
        )
        return Word(
            text=text,
            offset=self.offset,
            bare=self.bare,
            splits=self.splits or braces,
            globs=self.globs and text != "[",
            runs=self.runs,
            uses=tuple(self.uses),
            assigns=self.assigns,
        )
