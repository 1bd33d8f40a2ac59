"""Which variables of a script hold the text of a parameter, also by way of others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from mcp_jobs.job_types.yaml.shell_words import Refusal, Token, Word

_LAST_ARGUMENT: Final = "_"
"""Bash puts the last argument of each command there."""


def tainted(
    tokens: Sequence[Token], inner: Sequence[Sequence[Token]], params: Collection[str]
) -> frozenset[str]:
    """Return the names. Raises `Refusal` for a param whose own variable is set to something."""
    held = {*params, _LAST_ARGUMENT}
    feeds: dict[str, set[str]] = defaultdict(set)
    for found in (tokens, *inner):
        for name, word in _settings(found):
            if name in params:
                message = f"the variable {name} is that of the param {name}; use another name"
                raise Refusal(word.offset, message)
            if word.has_hole:
                held.add(name)
            for use in word.uses:
                feeds[use.name].add(name)
    waiting = list(held)
    while waiting:
        new = feeds.pop(waiting.pop(), set()) - held
        held |= new
        waiting.extend(new)
    return frozenset(held)


def _settings(tokens: Sequence[Token]) -> Iterator[tuple[str, Word]]:
    """Yield each variable that is set, with a word that it gets its text from."""
    loop: str | None = None
    before: Token | None = None
    for token in tokens:
        if not isinstance(token, Word):
            loop = None
        elif before is not None and isinstance(before, Word) and before.text == "for":
            loop = token.text
            yield loop, token
        elif loop is not None:
            yield loop, token
        elif token.assigns is not None:
            yield token.assigns, token
        before = token
