"""Change one table of a TOML file; comments, order and everything else stay."""

from __future__ import annotations

import tomllib
from typing import Any


class NotTomlError(ValueError):
    """The text is no TOML, or not of the shape that a change needs."""


def loads(text: str) -> dict[str, Any]:
    """Read TOML. Raises `NotTomlError`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NotTomlError(str(error)) from None


def set_table(text: str, path: tuple[str, str], entry: dict[str, Any]) -> str:
    """Return the text with the keys of `entry` set in one table, which is made if need be.

    Raises `NotTomlError` when the text is no TOML or the place is no table.
    """
    expected = loads(text)
    outer, name = path
    servers = expected.setdefault(outer, {})
    if not isinstance(servers, dict) or not isinstance(servers.setdefault(name, {}), dict):
        raise NotTomlError(f"{outer} is not a table")
    for key, value in entry.items():
        old = servers[name].get(key)
        merged = isinstance(value, dict) and isinstance(old, dict)
        servers[name][key] = {**old, **value} if merged else value
    from tomlkit.exceptions import TOMLKitError

    try:
        changed = _changed(text, outer, name, servers[name], tuple(entry))
    except (TOMLKitError, TypeError, ValueError) as error:
        raise NotTomlError(f"the file has a form that cannot be changed safely: {error}") from None
    if loads(changed) != expected:
        raise NotTomlError("the file has a form that cannot be changed safely")
    return changed


def _changed(
    text: str, outer: str, name: str, wanted: dict[str, Any], keys: tuple[str, ...]
) -> str:
    import tomlkit
    from tomlkit.items import InlineTable

    document: Any = tomlkit.parse(text)
    if outer not in document:
        document[outer] = tomlkit.table(is_super_table=True)
    if name not in document[outer]:
        inline = isinstance(document[outer], InlineTable)
        document[outer][name] = tomlkit.inline_table() if inline else tomlkit.table()
    table = document[outer][name]
    for key in keys:
        if table.get(key) != wanted[key]:
            table[key] = wanted[key]
    return tomlkit.dumps(document)
