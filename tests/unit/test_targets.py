"""Where webhooks may go."""

from __future__ import annotations

import pytest

from mcp_jobs.errors import InvalidInputError
from mcp_jobs.targets import may_connect, networks, webhook_url

PRIVATE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
    "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::", "2001:0:7f00:1::", "not an address", "",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not may_connect(address, allowed=())


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_a_public_address_is_allowed(address: str) -> None:
    assert may_connect(address, allowed=())


def test_a_private_network_can_be_allowed_and_no_other_is() -> None:
    allowed = networks(["10.0.0.0/8", "fd00::/8"])
    assert may_connect("10.9.8.7", allowed=allowed)
    assert may_connect("::ffff:10.9.8.7", allowed=allowed)
    assert may_connect("fd00::1", allowed=allowed)
    assert not may_connect("127.0.0.1", allowed=allowed)
    assert not may_connect("fc00::1", allowed=allowed)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("https://hooks.example/x?y=1", ["hooks.example"]),
        ("http://HOOKS.example:8080/", ["hooks.example"]),
        ("https://a.b.example/", ["*.example"]),
        ("https://[2606:4700::1111]/", ["2606:4700::1111"]),
    ],
)
def test_a_url_of_an_allowed_host_is_taken(text: str, hosts: list[str]) -> None:
    assert webhook_url(text, hosts=hosts) == text


def test_the_fragment_is_left_out() -> None:
    assert webhook_url("https://a.example/x#y", hosts=["*"]) == "https://a.example/x"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "http or https"),
        ("ftp://a.example/", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("https://", "http or https"),
        ("https://a.example/\n", "http or https"),
        ("https://a.example/ x", "http or https"),
        ("https://ä.example/", "http or https"),
        ("https://a.example:99999/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://user:secret@a.example/", "user name"),
        ("https://b.example/", "not on the allowed list"),
        ("https://a.example.b.example/", "not on the allowed list"),
        ("https://" + "a" * 2100, "2000 characters"),
    ],
)
def test_any_other_url_is_refused_with_a_reason(text: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        webhook_url(text, hosts=["a.example"])
    assert "secret" not in str(caught.value)
