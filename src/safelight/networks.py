"""Which addresses are on the public network, and which are nobody's business.

The tables are IANA's registries of special-purpose addresses, written in because what Python's
`ipaddress` knows of them differs by its version, and because some addresses are public by the book
and inside in effect. The rules for whoever edits it: an address that wraps one of IPv4 is no more
public than that one, and what is registered as anything special is not public, whatever else is
said of it there: nobody has files at a relay or an anycast address.

https://www.iana.org/assignments/iana-ipv4-special-registry
https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_SPECIAL_4 = (
    "0.0.0.0/8",  # this network: RFC 791
    "10.0.0.0/8",  # private: RFC 1918
    "100.64.0.0/10",  # a provider's and its customers': RFC 6598; metadata at Alibaba
    "127.0.0.0/8",  # loopback: RFC 1122
    "168.63.129.16/32",  # Azure's host, as each machine there sees it; in no registry
    "169.254.0.0/16",  # link-local: RFC 3927; metadata at most clouds
    "172.16.0.0/12",  # private: RFC 1918
    "192.0.0.0/24",  # protocol assignments: RFC 6890; metadata at Oracle (192.0.0.192)
    "192.0.2.0/24",  # documentation: RFC 5737
    "192.31.196.0/24",  # AS112: RFC 7535
    "192.52.193.0/24",  # multicast tunnels: RFC 7450
    "192.88.99.0/24",  # relays of 6to4 and 6a44: RFC 7526, RFC 6751
    "192.168.0.0/16",  # private: RFC 1918
    "192.175.48.0/24",  # AS112: RFC 7534
    "198.18.0.0/15",  # benchmarks: RFC 2544
    "198.51.100.0/24",  # documentation: RFC 5737
    "203.0.113.0/24",  # documentation: RFC 5737
    "224.0.0.0/4",  # multicast: RFC 5771
    "240.0.0.0/4",  # reserved, and broadcast: RFC 1112, RFC 8190
)
# All that is handed out of IPv6. Not in it are loopback, unique local, link-local and site-local
# addresses, multicast, segments (5f00::/16), what is discarded (100::/64), a translator of one's
# own (64:ff9b:1::/48), and IPv4 addresses as ::a.b.c.d and ::ffff:0:a.b.c.d.
_HANDED_OUT = IPv6Network("2000::/3")  # RFC 3513
_SPECIAL_6 = (
    "2001::/23",  # protocol assignments: RFC 2928; Teredo, benchmarks, ORCHID, multicast tunnels
    "2001:db8::/32",  # documentation: RFC 3849
    "2620:4f:8000::/48",  # AS112: RFC 7534
    "3fff::/20",  # documentation: RFC 9637
)
_INSIDE_4 = tuple(map(IPv4Network, _SPECIAL_4))
_INSIDE_6 = tuple(map(IPv6Network, _SPECIAL_6))
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})  # RFC 5214: before an IPv4 address, in any network


def is_public(address: str) -> bool:
    """Whether an IP address is on the public network, also when it is wrapped in another one."""
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _INSIDE_4)
    if (mapped := ip.ipv4_mapped or _translated(ip)) is not None:
        return is_public(str(mapped))
    if ip not in _HANDED_OUT or any(ip in network for network in _INSIDE_6):
        return False
    tunnelled = ip.sixtofour or _within_a_site(ip)
    return tunnelled is None or is_public(str(tunnelled))


def _translated(ip: IPv6Address) -> IPv4Address | None:
    return _last_four(ip) if ip in _NAT64 else None


def _within_a_site(ip: IPv6Address) -> IPv4Address | None:
    """What an ISATAP address leads to in its site."""
    return _last_four(ip) if int(ip) >> 32 & 0xFFFF_FFFF in _ISATAP else None


def _last_four(ip: IPv6Address) -> IPv4Address:
    return IPv4Address(ip.packed[-4:])
