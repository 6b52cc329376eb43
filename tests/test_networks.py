"""Addresses: what is public, what is nobody's business, and what only looks public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from safelight.networks import is_public

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450::1",
    "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff:1000::1",
]

# The first and the last address of each, or the ones that it is known for.
INSIDE = [
    ("this network", "0.0.0.0", "0.255.255.255"),
    ("private", "10.0.0.0", "10.255.255.255"),
    ("a provider's", "100.64.0.0", "100.127.255.255"),
    ("metadata at Alibaba", "100.100.100.200"),
    ("loopback", "127.0.0.0", "127.0.0.1", "127.255.255.255"),
    ("the host at Azure", "168.63.129.16"),
    ("link-local", "169.254.0.0", "169.254.169.254", "169.254.255.255"),
    ("private", "172.16.0.0", "172.31.255.255"),
    ("protocol assignments", "192.0.0.0", "192.0.0.8", "192.0.0.170", "192.0.0.255"),
    ("metadata at Oracle", "192.0.0.192"),
    ("anycast", "192.0.0.9", "192.0.0.10", "2001:1::1", "2001:1::3"),
    ("documentation", "192.0.2.0", "192.0.2.255", "198.51.100.0", "203.0.113.255"),
    ("AS112", "192.31.196.1", "192.175.48.1", "2001:4:112::1", "2620:4f:8000::1"),
    ("multicast tunnels", "192.52.193.1", "2001:3::1"),
    ("relays", "192.88.99.0", "192.88.99.1", "192.88.99.2"),
    ("private", "192.168.0.0", "192.168.255.255"),
    ("benchmarks", "198.18.0.0", "198.19.255.255", "2001:2::1"),
    ("multicast", "224.0.0.0", "239.255.255.255", "ff02::1", "ff0e::1"),
    ("reserved", "240.0.0.0", "255.255.255.254", "255.255.255.255"),
    ("unspecified and loopback", "::", "::1"),
    ("IPv4-compatible", "::8.8.8.8", "::127.0.0.1"),
    ("IPv4-translated", "::ffff:0:8.8.8.8", "::ffff:0:127.0.0.1"),
    ("a translator of one's own", "64:ff9b:1::", "64:ff9b:1::808:808", "64:ff9b:1:ffff::a00:1"),
    ("discarded", "100::", "100::ffff:ffff:ffff:ffff", "100:0:0:1::1"),
    ("Teredo", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    ("ORCHID", "2001:10::1", "2001:20::1", "2001:2f:ffff::1", "2001:30::1"),
    ("documentation", "2001:db8::", "2001:db8:ffff::1", "3fff::", "3fff:fff:ffff::1"),
    ("segments", "5f00::1", "5f00:ffff::1"),
    ("not handed out", "4000::1", "1fff::1", "8000::1", "e000::1"),
    ("unique local", "fc00::1", "fd00:ec2::254", "fdff::1"),
    ("link-local", "fe80::1", "febf::1"),
    ("site-local", "fec0::1", "feff::1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("row", INSIDE, ids=lambda row: row[0])
def test_what_is_not(row: tuple[str, ...]) -> None:
    _, *addresses = row

    assert [address for address in addresses if is_public(address)] == []


def wrapped(address: str) -> dict[str, str]:
    """An IPv4 address in the forms of IPv6 that lead to it."""
    four = int(IPv4Address(address))
    forms = {
        "mapped": 0xFFFF << 32 | four,
        "6to4": 0x2002 << 112 | four << 80 | 1,
        "NAT64": 0x64_FF9B << 96 | four,
        "ISATAP": 0x2A00_1450 << 96 | 0x5EFE << 32 | four,
        "ISATAP, of a public address": 0x2A00_1450 << 96 | 0x0200_5EFE << 32 | four,
    }
    return {form: str(IPv6Address(value)) for form, value in forms.items()}


@pytest.mark.parametrize("form", wrapped("0.0.0.0"))
def test_what_is_wrapped_is_as_public_as_what_is_in_it(form: str) -> None:
    inside = [one for _, *row in INSIDE for one in row if ":" not in one]

    assert [one for one in inside if is_public(wrapped(one)[form])] == []
    assert is_public(wrapped("8.8.8.8")[form])
