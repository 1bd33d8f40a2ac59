"""Which values are secrets: by the name of a variable or parameter, or as its type declares.

A parameter is declared secret by `writeOnly` in its schema, which is what `secret: true` in
jobs.yaml and pydantic's `SecretStr` make. By its name alone only a text is one, since `max_tokens`
is a number.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

MASKED: Final = "[masked]"
"""Stands for a secret wherever one would be shown or kept."""

SECRET_PATTERNS: Final = (
    "*TOKEN*",
    "*SECRET*",
    "*PASSWORD*",
    "*PASSWD*",
    "*PASSPHRASE*",
    "*CREDENTIAL*",
    "*API_KEY*",
    "*APIKEY*",
    "*ACCESS_KEY*",
    "*PRIVATE_KEY*",
    "*_PAT",
    "*_AUTH",
)
"""Names, upper-cased and with _ between their words, whose values are taken for secrets."""

_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-. ]")
_IN_QUERIES: Final = frozenset({"AUTH", "CODE", "KEY", "PASS", "PWD", "SIG", "SIGNATURE"})
_RANDOM: Final = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9_=-]{16,}")
_DEEPEST: Final = 50


@lru_cache(maxsize=4096)
def looks_secret(name: str) -> bool:
    """Say whether the value of a variable or parameter of this name is taken for a secret.

    Remembered, since every start of a job asks it for every variable.
    """
    written = _WORDS.sub("_", name).upper()
    return any(fnmatch.fnmatchcase(written, pattern) for pattern in SECRET_PATTERNS)


def hidden(
    schema: Mapping[str, Any], params: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return parameters as they may be shown and kept, and the texts that must not be.

    `schema` is the JSON Schema of the parameters.
    """
    hiding = _Hiding(schema)
    shown = hiding.shown(params, schema)
    return shown, tuple(dict.fromkeys(hiding.found))


def is_secret(field: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    """Say whether a field's own schema, within `schema`, declares it secret."""
    return any(each.get("writeOnly") is True for each in _meant(field, schema))


def shown_url(url: str) -> str:
    """Return a URL without what may be a secret in it: user, values of queries, long random parts.

    Receivers of webhooks know senders by such parts of a path as well as by a query.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        # Where its parts are in what is no URL, nobody can tell.
        return MASKED
    user, sign, host = parts.netloc.rpartition("@")
    path = "/".join(MASKED if _RANDOM.fullmatch(part) else part for part in parts.path.split("/"))
    query = "&".join(map(_shown_query, parts.query.split("&")))
    netloc = f"{MASKED}@{host}" if sign and user else host
    return parts._replace(netloc=netloc, path=path, query=query, fragment="").geturl()


def _shown_query(pair: str) -> str:
    name, sign, value = pair.partition("=")
    secret = looks_secret(name) or name.upper() in _IN_QUERIES or _RANDOM.fullmatch(value)
    return f"{name}={MASKED}" if sign and secret else pair


class _Hiding:
    """Goes through parameters and their schema side by side."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self.found: list[str] = []

    def shown(self, value: Any, field: Mapping[str, Any], depth: int = 0) -> Any:
        if value is None or depth > _DEEPEST:
            return value
        if is_secret(field, self._schema):
            return self._hidden(value)
        if isinstance(value, Mapping):
            return {name: self._member(name, each, field, depth) for name, each in value.items()}
        if isinstance(value, list):
            return [
                self.shown(each, _inner(index, field, self._schema), depth + 1)
                for index, each in enumerate(value)
            ]
        return value

    def _member(self, name: str, value: Any, field: Mapping[str, Any], depth: int) -> Any:
        if isinstance(value, str | list | Mapping) and looks_secret(name):
            return self._hidden(value)
        return self.shown(value, _inner(name, field, self._schema), depth + 1)

    def _hidden(self, value: Any) -> str:
        self.found += _texts(value)
        return MASKED


def _meant(
    field: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0
) -> Iterator[Mapping[str, Any]]:
    """Return a schema and all that it refers to or is made of."""
    if depth > _DEEPEST:
        return
    yield field
    reference = field.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        found = schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {})
        yield from _meant(found, schema, depth + 1)
    for kind in ("anyOf", "oneOf", "allOf"):
        for each in field.get(kind, ()):
            yield from _meant(each, schema, depth + 1)


def _inner(
    name: str | int, field: Mapping[str, Any], schema: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the schema of a member of an object, by its name, or of an item, by its index."""
    meant = list(_meant(field, schema))
    if isinstance(name, int):
        found = [one for each in meant for one in _items(each, name)]
    else:
        found = [one for each in meant for one in _members(each, name)]
        # Else another name of one of them (pydantic's `populate_by_name`), which no schema tells.
        found = found or [one for each in meant for one in each.get("properties", {}).values()]
    inner = [one for one in found if isinstance(one, Mapping)]
    return inner[0] if len(inner) == 1 else {"anyOf": inner}


def _items(field: Mapping[str, Any], index: int) -> list[Any]:
    """Return what an array says of an item: `items` is for those after the ones named singly."""
    first = field.get("prefixItems", ())
    return [first[index]] if index < len(first) else [field.get("items")]


def _members(field: Mapping[str, Any], name: str) -> list[Any]:
    """Return what an object says of a member; nothing when it knows of none of this name."""
    # Which names a pattern means is for its own kind of expressions to say.
    found = list(field.get("patternProperties", {}).values())
    said = field.get("properties", {}).get(name) or field.get("additionalProperties")
    return [*found, said] if said else found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)
    elif value is not None and not isinstance(value, bool):
        yield json.dumps(value)
