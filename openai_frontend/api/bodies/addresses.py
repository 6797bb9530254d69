"""Whether an IP address is public: only public addresses may be fetched for a client."""

import ipaddress
from typing import Final

_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
# These contain an IPv4 address that a translator or relay sends to: NAT64's well-known prefix and 6to4.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# Global according to some versions of Python, although no Internet host uses them: 6to4 relays, Teredo tunnels,
# documentation addresses.
_EXCLUDED: Final = tuple(map(ipaddress.ip_network, ("192.88.99.0/24", "2001::/32", "2001:db8::/32", "3fff::/20")))


def is_public(address: str) -> bool:
    """Whether `address` is global unicast, including an embedded IPv4 address. Raises ValueError."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _EXCLUDED)
