"""Where webhooks may go: which URLs are taken, and which addresses are connected to."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Sequence
from functools import cache
from typing import Final
from urllib.parse import urlsplit

from mcp_jobs.domain.errors import InvalidInputError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_URL_CHARS: Final = 2000
_HOST_CHARS: Final = 253
# RFC 3986, 2: everything else is percent-encoded. No space and no control character is among them.
_URL: Final = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*")
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_BRACKETED: Final = re.compile(r"\[([^\[\]]*)\](?::[0-9]*)?")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")

_NOT_PUBLIC: Final = (
    # IANA IPv4 Special-Purpose Address Registry. What Python calls private differs from version to
    # version, so the list is kept here.
    "0.0.0.0/8",  # this network: RFC 791
    "10.0.0.0/8",  # private use: RFC 1918
    "100.64.0.0/10",  # shared, behind the NAT of carriers: RFC 6598
    "127.0.0.0/8",  # loopback: RFC 1122
    "169.254.0.0/16",  # link-local, and the metadata services of clouds: RFC 3927
    "172.16.0.0/12",  # private use: RFC 1918
    "192.0.0.0/24",  # IETF protocol assignments: RFC 6890
    "192.0.2.0/24",  # documentation: RFC 5737
    "192.88.99.0/24",  # relays of 6to4, deprecated: RFC 7526
    "192.168.0.0/16",  # private use: RFC 1918
    "198.18.0.0/15",  # benchmarks: RFC 2544
    "198.51.100.0/24",  # documentation: RFC 5737
    "203.0.113.0/24",  # documentation: RFC 5737
    "224.0.0.0/4",  # multicast: RFC 5771
    "240.0.0.0/4",  # reserved, and the broadcast address: RFC 1112, RFC 8190
    # IANA IPv6 Special-Purpose Address Registry, within 2000::/3.
    "2001::/23",  # IETF protocol assignments, Teredo (RFC 4380) and ORCHID among them: RFC 2928
    "2001:db8::/32",  # documentation: RFC 3849
    "3fff::/20",  # documentation: RFC 9637
)

_GLOBAL_UNICAST: Final = "2000::/3"
"""All that IANA gives out for the internet (RFC 4291). Loopback, link-local, site-local, unique
local, multicast, discard-only, local NAT64 (64:ff9b:1::/48, RFC 8215) and whatever is reserved lie
outside."""

_NAT64: Final = "64:ff9b::/96"
"""The well-known prefix: RFC 6052."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return networks such as 10.0.0.0/8. Raises ValueError that names the bad one."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def may_connect(address: str, *, allowed: Sequence[Network]) -> bool:
    """Say whether an address is on the public internet, or in a network that is allowed.

    An IPv4 address that an IPv6 address carries inside of it (mapped, NAT64, 6to4) counts as well.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(
        _is_public(each)
        or any(each in network for network in allowed if network.version == each.version)
        for each in _meant_by(found)
    )


def checked_url(text: str) -> str:
    """Return `text`, without its fragment, if a webhook can be sent there.

    Raises ValueError that says what is wrong and what is allowed. It shows nothing of `text` but
    the host and the port, since the rest may be secret.
    """
    if len(text) > _URL_CHARS or _URL.fullmatch(text) is None:
        raise ValueError(
            f"an http or https URL in plain ASCII of at most {_URL_CHARS} characters is allowed; "
            "other characters are written as %XX, and those of a host name as xn--"
        )
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError(f"it is not a URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("only http and https URLs are allowed")
    if "@" in parts.netloc:
        raise ValueError("a user name or a password is not allowed in it; use the path or query")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("its port must be a number from 1 to 65535")
    if "[" in parts.netloc:
        _check_bracketed(parts.netloc)
    else:
        _check_name(parts.hostname or "")
    return parts._replace(fragment="").geturl()


def webhook_url(text: str, *, hosts: Sequence[str]) -> str:
    """Return `text` if it is an address that webhooks given with a job may go to.

    Raises `InvalidInputError`.
    """
    try:
        url = checked_url(text)
    except ValueError as error:
        raise InvalidInputError(f"webhook cannot be used: {error}.") from None
    host = urlsplit(url).hostname or ""
    if not any(fnmatch.fnmatchcase(host, pattern.lower()) for pattern in hosts):
        allowed = ", ".join(hosts) or "none"
        raise InvalidInputError(
            f"webhook names the host {host!r}, which is not on the allowed list. Allowed are: "
            f"{allowed}. Whoever runs the server sets them in MCP_JOBS_WEBHOOK_HOSTS."
        )
    return url


def _check_bracketed(netloc: str) -> None:
    found = _BRACKETED.fullmatch(netloc)
    try:
        # A zone means a link of this machine, where nothing public is.
        if found is None or ipaddress.IPv6Address(found[1]).scope_id is not None:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{netloc[:100]!r} is not an IPv6 address; write it as [2001:db8::1], without a zone"
        ) from None


def _check_name(host: str) -> None:
    labels = host.split(".")
    if len(host) > _HOST_CHARS or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(
            f"{host[:100]!r} cannot be a host: its parts are 1 to 63 letters, digits, - and _, "
            f"with single dots between them, {_HOST_CHARS} characters at most"
        )
    if _NUMBER.fullmatch(labels[-1]):
        # Whoever looks up a name that ends in a number takes it for an address, and some of them
        # for another one than others do.
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError(
                f"{host!r} is not an IPv4 address; write it as four numbers, such as 192.0.2.1"
            ) from None


@cache
def _special() -> tuple[Network, ...]:
    return networks(_NOT_PUBLIC)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        return address in ipaddress.ip_network(_GLOBAL_UNICAST) and _is_not_special(address)
    return _is_not_special(address)


def _is_not_special(address: Address) -> bool:
    return not any(address in net for net in _special() if net.version == address.version)


def _meant_by(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in ipaddress.ip_network(_NAT64):
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    return [address]
