"""Addresses and the networks they lie in, as rules compare them."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator

_ADDRESSES_KEPT: Final = 16_384
_V4: Final = 4


def _valid_network(cidr: str) -> str:
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise ValueError(f"not a network in CIDR notation: {error}") from error
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{cidr} holds IPv4 addresses mapped into IPv6; write the IPv4 network, which matches both")
    return cidr


Cidr = Annotated[str, AfterValidator(_valid_network)]
"""A network in CIDR notation, IPv4 or IPv6, or one address: ``10.0.0.0/8``, ``2001:db8::/32``, ``192.0.2.7``."""


class Address(NamedTuple):
    """An IP address as a number."""

    version: int
    """4 or 6."""
    value: int


@lru_cache(maxsize=_ADDRESSES_KEPT)
def parse_address(text: str) -> Address | None:
    """Read an address, one that is IPv4 mapped into IPv6 as IPv4; None where the text is no address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return Address(address.version, int(address))


@lru_cache(maxsize=_ADDRESSES_KEPT)
def network_of(text: str, *, v4_prefix: int = 24, v6_prefix: int = 48) -> str:
    """Return the network that an address lies in, ``203.0.113.0/24``; the text itself where it is no address."""
    address = parse_address(text)
    if address is None:
        return text
    is_v4 = address.version == _V4
    prefix, width = (v4_prefix, 32) if is_v4 else (v6_prefix, 128)
    start = address.value >> width - prefix << width - prefix
    return f"{ipaddress.IPv4Address(start) if is_v4 else ipaddress.IPv6Address(start)}/{prefix}"


class Networks:
    """A set of networks that tells whether an address lies in any of them; false when it holds none."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, cidrs: Iterable[str]) -> None:
        networks = [ipaddress.ip_network(cidr) for cidr in cidrs]
        masks = [(network.version, int(network.network_address), int(network.netmask)) for network in networks]
        self._v4 = tuple((start, mask) for version, start, mask in masks if version == _V4)
        self._v6 = tuple((start, mask) for version, start, mask in masks if version != _V4)

    def __contains__(self, address: Address) -> bool:
        value = address.value
        networks = self._v4 if address.version == _V4 else self._v6
        for start, mask in networks:  # noqa: SIM110 - runs for every token, and any() takes twice as long
            if value & mask == start:
                return True
        return False

    def __bool__(self) -> bool:
        return bool(self._v4 or self._v6)


PRIVATE: Final = Networks(
    (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    )
)
"""Addresses that no public network routes: RFC 1918, RFC 6598, RFC 4193, loopback and link-local."""
