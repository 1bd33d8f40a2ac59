"""Where webhooks may go: which addresses are written down, and which may be connected to."""

from __future__ import annotations

import fnmatch
import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from mcp_jobs.errors import InvalidInputError

_URL_CHARS: Final = 2000
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return networks such as 10.0.0.0/8. Raises ValueError that names the bad one."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def may_connect(address: str, *, allowed: Sequence[Network]) -> bool:
    """Say whether an address is on the public internet, or in a network that is allowed.

    What an IPv6 address carries inside of it (mapped, NAT64, 6to4, Teredo) counts as well.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(
        (each.is_global and not each.is_multicast and not each.is_reserved)
        or any(each in network for network in allowed if network.version == each.version)
        for each in _meant_by(found)
    )


def webhook_url(text: str, *, hosts: Sequence[str]) -> str:
    """Return `text` if it is an address that webhooks given with a job may go to.

    Raises `InvalidInputError`.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidInputError(f"webhook is not a URL: {error}.") from None
    plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= _URL_CHARS
    if not plain or parts.scheme not in ("http", "https") or not host or port == 0:
        raise InvalidInputError(
            "webhook must be an http or https URL in plain ASCII of at most 2000 characters."
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidInputError("webhook must not hold a user name or a password.")
    if not any(fnmatch.fnmatchcase(host, pattern.lower()) for pattern in hosts):
        allowed = ", ".join(hosts) or "none"
        raise InvalidInputError(
            f"webhook names the host {host!r}, which is not on the allowed list. Allowed are: "
            f"{allowed}. Whoever runs the server sets them in MCP_JOBS_WEBHOOK_HOSTS."
        )
    return parts._replace(fragment="").geturl()


def _meant_by(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    inner: list[Address] = [address]
    if address.sixtofour is not None:
        inner.append(address.sixtofour)
    if address.teredo is not None:
        inner.extend(address.teredo)
    return inner
