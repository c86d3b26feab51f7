"""Which addresses may be connected to: globally routable unicast, and what the user allows.

URLs come from strangers, and so do the answers of their name servers: either may point at this
machine, at its network, or at the service that hands a cloud machine its keys. So the question is
asked of the address a connection is really made to, not of the name.

What an address cannot tell: a NAT64 gateway under a prefix of the network's own (RFC 6052, 2.2),
or a router that sends a public address somewhere private. A firewall has to know those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from webpairs.drops import Drop
from webpairs.errors import ConfigError, DataError

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


def _table(*rows: tuple[str, str]) -> tuple[tuple[_Network, str], ...]:
    return tuple((ip_network(network), reason) for network, reason in rows)


# Sources: IANA's IPv4 and IPv6 Special-Purpose Address Registries (as of October 2025), IANA's
# registries of multicast addresses and of the IPv6 address space, and the documents named beside a
# row. Blocks that the registries call globally reachable are here too: they serve protocols, no
# web sites, and the nearest instance may be the local network's own. The first row that holds the
# address gives the reason, so narrower rows stand before wider ones.
_FORBIDDEN: Final = _table(
    ("168.63.129.16/32", "cloud metadata"),  # Azure: a public address, answered by the host machine
    ("169.254.169.254/32", "cloud metadata"),  # AWS, Azure, Google Cloud and most others
    ("169.254.170.2/32", "cloud metadata"),  # AWS: keys of containers
    ("169.254.170.23/32", "cloud metadata"),  # AWS: keys of pods
    ("100.100.100.200/32", "cloud metadata"),  # Alibaba Cloud
    ("0.0.0.0/32", "unspecified"),
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by a provider's customers"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "multicast tunnelling"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
    ("fd00:ec2::/32", "cloud metadata"),  # AWS: ::254, and ::23 for pods
    ("fd20:ce::254/128", "cloud metadata"),  # Google Cloud
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "IPv4-compatible"),  # deprecated: RFC 4291, 2.5.5.1
    # RFC 8215: a network's own translator. It chooses where in the address the IPv4 one stands
    # (RFC 6052, 2.2), so that none can be read off.
    ("64:ff9b:1::/48", "local NAT64"),
    ("100::/64", "discard-only"),
    ("100:0:0:1::/64", "dummy prefix"),
    ("2001::/32", "Teredo"),  # tunnels to machines behind NAT, switched off; holds two IPv4 ones
    ("2001:2::/48", "benchmarking"),
    ("2001:10::/28", "ORCHID"),
    ("2001:20::/28", "ORCHID"),
    ("2001::/23", "protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2620:4f:8000::/48", "AS112"),
    ("3ffe::/16", "6bone"),  # RFC 3701: given back
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),  # deprecated: RFC 3879
    ("ff00::/8", "multicast"),
)

# The only block that IANA gives out as global unicast (RFC 4291, 2.4, and the IPv6 address space
# registry); the rest is reserved, and nobody can be reached there.
_GLOBAL_IPV6: Final = IPv6Network("2000::/3")

# Forms that carry a packet on to an IPv4 address: its first bit, counted from the right.
_EMBEDDINGS: Final = (
    (IPv6Network("::ffff:0:0/96"), 0, "IPv4-mapped"),  # RFC 4291, 2.5.5.2
    (IPv6Network("64:ff9b::/96"), 0, "NAT64"),  # RFC 6052; how networks without IPv4 reach it
    (IPv6Network("2002::/16"), 80, "6to4"),  # RFC 3056
)


@dataclass(frozen=True)
class Guard:
    """Judging addresses; networks in `allow` (CIDR, such as `127.0.0.0/8`) pass whatever they are.

    An allowed IPv4 network is allowed in its IPv4-mapped, NAT64 and 6to4 forms too.
    """

    allow: tuple[str, ...] = ()
    _allowed: tuple[_Network, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_allowed", tuple(map(_parse_network, self.allow)))

    def why_forbidden(self, address: str) -> str | None:
        """Give the reason not to connect to `address`, a few words; None when it may be reached.

        Never raises: what is not a plain address as inet_ntop writes it is forbidden for that.
        """
        try:
            # `ip_address` takes numbers and bytes too, whatever the annotation here promises.
            parsed = ip_address(str.__str__(address))
        except (TypeError, ValueError):
            return "not an address"
        return self._why(parsed)

    def refusal(self, addresses: Iterable[str]) -> DataError | None:
        """Return why none of a host's addresses may be reached; None when one of them may."""
        reasons = {address: self.why_forbidden(address) for address in addresses}
        if None in reasons.values():
            return None
        told = "; ".join(f"{address} ({reason})" for address, reason in reasons.items())
        # Nobody is led to open what hands a cloud machine its keys.
        hint = "" if "cloud metadata" in told else ": --allow-network reaches such networks"
        return DataError(Drop.ADDRESS_FORBIDDEN, told + hint)

    def _why(self, address: _Address) -> str | None:
        if any(address in network for network in self._allowed):
            return None
        if isinstance(address, IPv6Address):
            for network, shift, form in _EMBEDDINGS:
                if address in network:
                    embedded = IPv4Address(int(address) >> shift & 0xFFFFFFFF)
                    reason = self._why(embedded)
                    return f"{form} of {embedded}: {reason}" if reason else _why_zone(address)
        for network, reason in _FORBIDDEN:
            if address in network:
                return reason
        if isinstance(address, IPv6Address):
            return _why_zone(address) if address in _GLOBAL_IPV6 else "reserved"
        return None


def _why_zone(address: IPv6Address) -> str | None:
    # A zone names an interface of this machine (RFC 4007): no global address has one.
    return "has a zone" if address.scope_id is not None else None


def _parse_network(text: str) -> _Network:
    """Read a network in CIDR form; a lone address is a network of one."""
    advice = "give networks as ADDRESS/BITS, such as 127.0.0.0/8 or fd00::/8"
    if not isinstance(text, str) or "%" in text:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"allowed network {text!r} cannot be read: {advice}")
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(f"allowed network {text!r} cannot be read: {advice}") from None
    raise ConfigError(
        f"allowed network {text!r} has bits set beyond its prefix: write {str(network)!r}"
    )
