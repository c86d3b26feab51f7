"""Hold the guard against lists of addresses written by hand, and against Python's own judgement."""

from __future__ import annotations

import pickle
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.errors import ConfigError
from webpairs.obtain.guard import Guard

GUARD = Guard()


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "2a00:1450:4001:82f::200e",
        "3fff:1000::1",
        "::ffff:8.8.8.8",
        "::ffff:808:808",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2002:0808:0808:0a00:1::7f00:1",
    ],
)
def test_global_unicast_may_be_reached(address: str) -> None:
    assert GUARD.why_forbidden(address) is None


FORBIDDEN = {
    "unspecified": ["0.0.0.0", "::", "0:0:0:0:0:0:0:0"],
    "this network": ["0.0.0.1", "0.255.255.255"],
    "private": [
        "10.0.0.0",
        "10.255.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.0",
        "192.168.255.255",
        "fc00::",
        "fd12:3456:789a::1",
        "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ],
    "shared by a provider's customers": ["100.64.0.0", "100.127.255.255"],
    "loopback": ["127.0.0.1", "127.255.255.255", "::1"],
    "link-local": ["169.254.0.1", "169.254.169.253", "fe80::1", "fe80::1%eth0", "febf::1"],
    "cloud metadata": [
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    ],
    "protocol assignments": [
        "192.0.0.0",
        "192.0.0.9",
        "192.0.0.171",
        "192.0.0.192",
        "2001:1::1",
        "2001:3::1",
        "2001:4:112::1",
        "2001:30::1",
        "2001:1ff:ffff::",
    ],
    "documentation": [
        "192.0.2.1",
        "198.51.100.255",
        "203.0.113.0",
        "2001:db8::1",
        "3fff::1",
        "3fff:fff:ffff::",
    ],
    "AS112": ["192.31.196.1", "192.175.48.1", "2620:4f:8000::1"],
    "multicast tunnelling": ["192.52.193.1"],
    "6to4 relay": ["192.88.99.1", "192.88.99.2"],
    "benchmarking": ["198.18.0.0", "198.19.255.255", "2001:2::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": [
        "240.0.0.0",
        "255.255.255.254",
        "::ffff:0:8.8.8.8",  # IPv4-translated, RFC 2765
        "64:ff9a::1",
        "100:0:0:2::1",
        "200::1",
        "1fff:ffff::",
        "4000::1",
        "fe00::1",
    ],
    "broadcast": ["255.255.255.255"],
    "IPv4-compatible": ["::8.8.8.8", "::10.0.0.1", "::2"],
    "local NAT64": ["64:ff9b:1::8.8.8.8", "64:ff9b:1:a00:0:100::"],
    "discard-only": ["100::1"],
    "dummy prefix": ["100:0:0:1::1"],
    "Teredo": ["2001::1", "2001:0:808:808::f7f7:f7f7"],
    "ORCHID": ["2001:10::1", "2001:20::1", "2001:2f:ffff::"],
    "6bone": ["3ffe::1"],
    "segment routing": ["5f00::1"],
    "site-local": ["fec0::1", "feff::1"],
    "has a zone": ["2606:4700::1%eth0", "::ffff:8.8.8.8%1"],
    "IPv4-mapped of 10.0.0.1: private": ["::ffff:10.0.0.1", "::FFFF:A00:1"],
    "IPv4-mapped of 169.254.169.254: cloud metadata": ["::ffff:169.254.169.254"],
    "NAT64 of 10.0.0.1: private": ["64:ff9b::10.0.0.1", "64:ff9b::a00:1"],
    "NAT64 of 127.0.0.1: loopback": ["64:ff9b::7f00:1"],
    "6to4 of 192.168.0.1: private": ["2002:c0a8:1::1", "2002:c0a8:1::808:808"],
    "6to4 of 0.0.0.0: unspecified": ["2002::8.8.8.8"],
}


@pytest.mark.parametrize(
    ("address", "reason"),
    [(address, reason) for reason, addresses in FORBIDDEN.items() for address in addresses],
)
def test_everything_else_is_forbidden_for_a_reason(address: str, reason: str) -> None:
    assert GUARD.why_forbidden(address) == reason


@pytest.mark.parametrize(
    "address",
    [
        "",
        " 8.8.8.8",
        "8.8.8.8\n",
        "8.8.8.8:80",
        "[2606:4700::1]",
        "8.8.8",
        "134744072",
        "0x08080808",
        "08.8.8.8",
        "８.8.8.8",
        "8.8.8.8/32",
        "8.8.8.8%eth0",
        "2606:4700::1/128",
        "2606:4700::1%",
        "localhost",
        "dns.google",
        "/run/service.sock",
        "8.8.8.8\0.example",
        "\ud800",
        "1:" * 100_000,
        b"8.8.8.8",
        b"\x08\x08\x08\x08",
        134744072,
        None,
        ("8.8.8.8", 80),
        IPv4Address("8.8.8.8"),
    ],
)
def test_what_is_no_plain_address_is_forbidden(address: Any) -> None:
    assert GUARD.why_forbidden(address) == "not an address"
    assert Guard(("0.0.0.0/0", "::/0")).why_forbidden(address) == "not an address"


@pytest.mark.parametrize(
    ("allow", "allowed", "forbidden"),
    [
        (
            ("127.0.0.0/8",),
            ["127.0.0.1", "::ffff:127.3.2.1", "64:ff9b::127.0.0.1"],
            ["::1", "10.0.0.1", "0.0.0.0", "::127.0.0.1", "64:ff9b:1::127.0.0.1"],
        ),
        (("::1/128",), ["::1"], ["127.0.0.1", "::2"]),
        (("10.1.2.3",), ["10.1.2.3"], ["10.1.2.2", "10.1.2.4"]),
        (("fe80::/10",), ["fe80::1", "fe80::1%eth0"], ["fec0::1", "169.254.0.1"]),
        (("::ffff:10.0.0.0/104",), ["::ffff:10.0.0.1"], ["10.0.0.1", "64:ff9b::10.0.0.1"]),
        (("10.0.0.0/8", "192.168.0.0/16"), ["10.0.0.1", "192.168.1.1"], ["172.16.0.1"]),
        (("8.8.8.0/24",), ["8.8.8.8", "1.1.1.1"], ["10.0.0.1"]),
    ],
)
def test_allowed_networks_pass_in_every_form_and_no_others(
    allow: tuple[str, ...], allowed: list[str], forbidden: list[str]
) -> None:
    guard = Guard(allow)
    assert [a for a in allowed if guard.why_forbidden(a) is not None] == []
    assert [a for a in forbidden if guard.why_forbidden(a) is None] == []


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("10.0.0.1/8", r"'10\.0\.0\.1/8' has bits set beyond its prefix: write '10\.0\.0\.0/8'"),
        ("fd00::1/8", r"'fd00::1/8' has bits set beyond its prefix: write 'fd00::/8'"),
        ("localhost", r"'localhost' cannot be read: .*127\.0\.0\.0/8"),
        ("10.0.0.0/33", r"'10\.0\.0\.0/33' cannot be read"),
        ("10.0.0.0/8, ::1/128", r"cannot be read"),
        ("fe80::%eth0/64", r"cannot be read"),
        ("", r"'' cannot be read"),
        (7, r"7 cannot be read"),
    ],
)
def test_an_unreadable_network_is_named_with_the_fix(network: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Guard(("127.0.0.0/8", network))


def test_a_guard_travels_to_other_processes() -> None:
    guard = Guard(("127.0.0.0/8",))
    assert pickle.loads(pickle.dumps(guard)) == guard
    assert pickle.loads(pickle.dumps(guard)).why_forbidden("127.0.0.1") is None


EMBEDDINGS = (
    IPv6Network("::ffff:0:0/96"),
    IPv6Network("64:ff9b::/96"),
    IPv6Network("2002::/16"),
)
EDGES = ("0.0.0.0/0", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "224.0.0.0/3")
IPV4 = st.one_of(
    st.ip_addresses(v=4), *(st.ip_addresses(network=IPv4Network(edge)) for edge in EDGES)
)
# Hypothesis draws IPv6 addresses from the special blocks as well as from everywhere.
IPV6 = st.one_of(
    st.ip_addresses(v=6),
    st.ip_addresses(network=IPv6Network("2000::/3")),
    st.ip_addresses(network=IPv6Network("2001::/16")),
    st.ip_addresses(network=IPv6Network("::/16")),
).filter(lambda address: not any(address in network for network in EMBEDDINGS))


@given(st.one_of(IPV4, IPV6))
def test_nothing_passes_that_python_knows_to_be_special(address: IPv4Address | IPv6Address) -> None:
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or (isinstance(address, IPv6Address) and address.is_site_local)
    )
    if special:
        assert GUARD.why_forbidden(str(address)) is not None


@given(IPV4)
def test_what_python_calls_global_is_forbidden_only_where_the_list_says_so(
    address: IPv4Address,
) -> None:
    exceptions = {"cloud metadata", "protocol assignments", "AS112", "multicast"}
    exceptions |= {"multicast tunnelling", "6to4 relay", None}
    if address.is_global:
        assert GUARD.why_forbidden(str(address)) in exceptions


@given(IPV4, st.integers(0, 2**80 - 1), st.sampled_from([(), ("10.0.0.0/8",), ("127.0.0.1/32",)]))
def test_an_embedded_address_passes_only_where_the_plain_one_does(
    address: IPv4Address, noise: int, allow: tuple[str, ...]
) -> None:
    guard = Guard(allow)
    number = int(address)
    passes = guard.why_forbidden(str(address)) is None
    for form in (
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0x0064_FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80 | noise),
    ):
        assert (guard.why_forbidden(str(form)) is None) == passes, form
    compatible, teredo = IPv6Address(number), 0x2001_0000 << 96
    local = 0x0064_FF9B_0001 << 80
    for form in (
        compatible,
        IPv6Address(teredo | number << 64 | noise % 2**64),  # the server
        IPv6Address(teredo | 0x0808_0808 << 64 | number ^ 0xFFFF_FFFF),  # the client, inverted
        IPv6Address(local | number),
        IPv6Address(local | number >> 16 << 64 | (number & 0xFFFF) << 40),
    ):
        assert guard.why_forbidden(str(form)) is not None, form


@given(st.text())
def test_no_text_raises(text: str) -> None:
    reason = GUARD.why_forbidden(text)
    assert reason is None or reason
