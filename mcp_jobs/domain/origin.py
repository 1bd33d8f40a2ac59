"""Whose wish a job was, made of what a client says of itself.

All of it is somebody's word: it is cut to a length that can be kept and shown, it tells jobs apart
for those who may see them anyway, and it gives nobody a right.
"""

from __future__ import annotations

from typing import Final

from mcp_jobs.domain.models import JobOrigin

_NAME_CHARS: Final = 100
_VERSION_CHARS: Final = 50
_SESSION_CHARS: Final = 200


def told_origin(
    *,
    client_name: object = None,
    client_version: object = None,
    project: str | None = None,
    session: object = None,
) -> JobOrigin:
    """Return the origin that a client tells; what is no text, or empty, is unknown.

    A session that is too long to be kept is unknown too, since its beginning could be that of
    another one.
    """
    named = _text(session, _SESSION_CHARS + 1)
    return JobOrigin(
        client_name=_text(client_name, _NAME_CHARS),
        client_version=_text(client_version, _VERSION_CHARS),
        project=project,
        session=None if named is None or len(named) > _SESSION_CHARS else named,
    )


def _text(told: object, most: int) -> str | None:
    if not isinstance(told, str):
        return None
    # Halves of pairs, which JSON lets through, are no text to a database.
    return told[:most].encode("utf-8", "replace").decode() or None
