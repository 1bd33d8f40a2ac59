"""Where webhooks may go."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.webhook_urls import checked_url, may_connect, networks, webhook_url

# The first and the last address of each special network, and what carries such a one inside.
PRIVATE = [
    "0.0.0.1", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255",
    "127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.169.254", "172.16.0.0",
    "172.31.255.255", "192.0.0.0", "192.0.0.9", "192.0.0.255", "192.0.2.1", "192.88.99.1",
    "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.7",
    "203.0.113.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "100::1", "64:ff9b:1::808:808", "64:ff9b:1:ffff::1",
    "2001::1", "2001:2::1", "2001:10::1", "2001:1ff:ffff::1", "2001:db8::1", "3fff::1",
    "3fff:fff:ffff::1", "4000::1", "5f00::1", "fc00::1", "fd12:3456::1", "fdff:ffff::1",
    "fe80::1", "fe80::1%eth0", "fe80::1%25eth0", "fec0::1", "feff:ffff::1", "ff02::1", "ff0e::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:192.0.0.1", "::ffff:224.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::c000:1", "2002:7f00:1::", "2002:a00:1::1",
    "2002:c000:1::", "2001:0:7f00:1::", "2001:0:808:808::f7f7:f7f7", "not an address", "",
    "1.1.1.1.1", "2130706433", "0x7f.1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.167.255.255",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2001:200::1",
    "2001:4860:4860::8888", "2001:db7::1", "3ffe:ffff::1", "::ffff:1.1.1.1", "64:ff9b::808:808",
    "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not may_connect(address, allowed=())


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert may_connect(address, allowed=())


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
def test_an_ipv4_address_inside_of_an_ipv6_one_is_judged_as_itself(
    address: ipaddress.IPv4Address, prefix: str
) -> None:
    inside = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(address))
    assert may_connect(str(inside), allowed=()) == may_connect(str(address), allowed=())


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6, network="2000::/3"))
def test_nothing_is_public_here_that_python_knows_to_be_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if may_connect(str(address), allowed=()):
        assert [address.is_private, address.is_multicast, address.is_reserved] == [False] * 3


def test_a_private_network_can_be_allowed_and_no_other_is() -> None:
    allowed = networks(["10.0.0.0/8", "fd00::/8"])
    assert may_connect("10.9.8.7", allowed=allowed)
    assert may_connect("::ffff:10.9.8.7", allowed=allowed)
    assert may_connect("64:ff9b::a09:807", allowed=allowed)
    assert may_connect("fd00::1", allowed=allowed)
    assert not may_connect("127.0.0.1", allowed=allowed)
    assert not may_connect("::ffff:127.0.0.1", allowed=allowed)
    assert not may_connect("fc00::1", allowed=allowed)
    # The tunnel is public and what it leads to is allowed.
    assert may_connect("2002:a09:807::1", allowed=allowed)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("https://hooks.example/x?y=1", ["hooks.example"]),
        ("http://HOOKS.example:8080/", ["hooks.example"]),
        ("https://a.b.example/", ["*.example"]),
        ("https://[2606:4700::1111]/", ["2606:4700::1111"]),
        ("https://[2606:4700::1111]:65535/", ["*"]),
        ("http://127.0.0.1:1/hook", ["127.0.0.1"]),
        ("http://my_host/a%20b;c=(d)'e!*~", ["my_host"]),
        ("https://xn--bcher-kva.example", ["*"]),
        ("https://" + ".".join(["a" * 63] * 3) + "/", ["*"]),
    ],
)
def test_a_url_of_an_allowed_host_is_taken(text: str, hosts: list[str]) -> None:
    assert webhook_url(text, hosts=hosts) == text


def test_the_fragment_is_left_out() -> None:
    assert webhook_url("https://a.example/x#y", hosts=["*"]) == "https://a.example/x"


BAD = [
    ("", "http and https"),
    ("ftp://a.example/", "http and https"),
    ("file:///etc/passwd", "http and https"),
    ("//a.example/", "http and https"),
    ("https://", "cannot be a host"),
    ("https:///x", "cannot be a host"),
    ("https://:80/", "cannot be a host"),
    ("https://a.example/\n", "plain ASCII"),
    ("https://a.exa\tmple/", "plain ASCII"),
    ("https://a.example/\0", "plain ASCII"),
    ("https://a.example/\x7f", "plain ASCII"),
    ("https://a.example/ x", "plain ASCII"),
    ("https://a.example\\@b.example/", "plain ASCII"),
    ("https://ä.example/", "xn--"),
    ("https://a。example/", "xn--"),
    ("https://a.example:99999/", "1 to 65535"),
    ("https://a.example:65536/", "1 to 65535"),
    ("https://a.example:0/", "1 to 65535"),
    ("https://a.example:-1/", "1 to 65535"),
    ("https://a.example:80x/", "1 to 65535"),
    ("https://a.example:1e3/", "1 to 65535"),
    ("https://[::1/", "not a URL"),
    ("https://[::1]x/", "IPv6"),
    ("https://x[::1]/", "IPv6|not a URL"),
    ("https://[fe80::1%25eth0]/", "IPv6|not a URL"),
    ("https://[v1.x]/", "IPv6|not a URL"),
    ("https://[]/", "IPv6|not a URL"),
    ("https://user:secret@a.example/", "user name"),
    ("https://@a.example/", "user name"),
    ("https://b.example/", "not on the allowed list"),
    ("https://a.example.b.example/", "not on the allowed list"),
    ("https://" + "a" * 2100, "2000 characters"),
    ("https://" + "a" * 64 + ".example/", "cannot be a host"),
    ("https://" + ".".join(["a" * 60] * 5) + "/", "cannot be a host"),
    ("https://a..example/", "cannot be a host"),
    ("https://.example/", "cannot be a host"),
    ("https://a.example./", "cannot be a host"),
    ("https://-a.example/", "cannot be a host"),
    ("https://a.example%00/", "cannot be a host"),
    ("https://a,b/", "cannot be a host"),
    ("https://127.1/", "IPv4"),
    ("https://2130706433/", "IPv4"),
    ("https://0x7f.0.0.1/", "IPv4"),
    ("https://0177.0.0.1/", "IPv4"),
    ("https://256.0.0.1/", "IPv4"),
    ("https://a.0x10/", "IPv4"),
]


@pytest.mark.parametrize(("text", "told"), BAD)
def test_any_other_url_is_refused_with_a_reason(text: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        webhook_url(text, hosts=["a.example"])
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()


@given(
    st.text(max_size=50)
    | st.from_regex(r"https?://[a-z0-9.:\[\]@%-]{0,30}(/[!-~]{0,20})?", fullmatch=True)
)
def test_any_text_is_a_url_or_refused_with_a_reason(text: str) -> None:
    with contextlib.suppress(ValueError):
        # Any other error would end the program that reads the declaration.
        assert text.startswith(checked_url(text))
