"""`command`: a list of arguments with `{name}` placeholders. No shell sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from mcp_jobs.domain.limits import passable
from mcp_jobs.job_types.yaml.arguments import check_arguments
from mcp_jobs.job_types.yaml.node import Place
from mcp_jobs.job_types.yaml.params import DeclaredParams
from mcp_jobs.job_types.yaml.shell_words import HOLE, Refusal, Word

_PIECE: Final = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]|[^{}]+")


class Argument:
    """One argument: literal texts, and names of parameters between them."""

    def __init__(self, place: Place, params: DeclaredParams) -> None:
        self._parts: list[tuple[bool, str]] = []
        self.line = place.line
        for piece in _PIECE.finditer(place.text(empty=True)):
            text, name = piece.group(), piece.group(1)
            if name is not None and name not in params.params:
                raise place.error(
                    f"there is no param {name!r}; {_known(params)} A literal brace is {{{{ or }}}}"
                )
            if name is None and text in ("{", "}"):
                raise place.error(
                    f"a single {text} is not allowed; write {{name}} for a param, and {text * 2} "
                    "for a literal brace"
                )
            self._parts.append((True, name) if name is not None else (False, _literal(text)))

    @property
    def names(self) -> set[str]:
        """The parameters in it."""
        return {text for is_name, text in self._parts if is_name}

    @property
    def word(self) -> Word:
        """What a check of the whole command sees of it."""
        text = "".join(HOLE if is_name else text for is_name, text in self._parts)
        return Word(text, self.line)

    def filled(self, texts: Mapping[str, str | None]) -> str | None:
        """Return the argument; None when it is nothing but a parameter that was left out."""
        if len(self._parts) == 1 and self._parts[0][0]:
            return texts[self._parts[0][1]]
        return "".join((texts[text] or "") if is_name else text for is_name, text in self._parts)


def read_command(place: Place, params: DeclaredParams) -> list[Argument]:
    """Read the list of arguments."""
    if place.is_text():
        raise place.error(
            'a list is needed here, such as ["npm", "test"]; for a command line use shell'
        )
    arguments = [Argument(item, params) for item in place.items()]
    if not arguments:
        raise place.error("at least the program is needed here")
    if arguments[0].names or not arguments[0].filled({}):
        raise place.error("the program must be a fixed name, without a placeholder")
    try:
        check_arguments([argument.word for argument in arguments])
    except Refusal as refusal:
        raise place.error(str(refusal), line=refusal.offset) from None
    used = set().union(*(argument.names for argument in arguments))
    unused = [name for name in params.params if name not in used]
    if unused:
        raise place.error(
            f"the param {unused[0]!r} is not used; put {{{unused[0]}}} into an argument, or "
            "remove it"
        )
    return arguments


def fill(arguments: list[Argument], texts: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return the command; each argument is one, whatever the parameters hold."""
    filled = (argument.filled(texts) for argument in arguments)
    return tuple(passable(text, what="An argument") for text in filled if text is not None)


def _literal(text: str) -> str:
    return text[0] if text in ("{{", "}}") else text


def _known(params: DeclaredParams) -> str:
    return f"the params are {', '.join(params.params)}." if params.params else "there are none."
