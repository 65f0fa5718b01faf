"""``ip('10.0.0.1')`` and ``cidr('10.0.0.0/8')``."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from typing import Any

from kcore.cel.errors import EvaluationError
from kcore.cel.functions import Library
from kcore.cel.standard import half_open, text_cost
from kcore.cel.types import TYPE
from kcore.cel.values import Opaque

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class IP(Opaque):
    __slots__ = ("address",)
    type_name = "net.IP"

    def __init__(self, address: Address) -> None:
        self.address = address

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IP) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __str__(self) -> str:
        return str(self.address)


class CIDR(Opaque):
    """An address and how many of its bits are the network's; the others may be set."""

    __slots__ = ("address", "bits")
    type_name = "net.CIDR"

    def __init__(self, address: Address, bits: int) -> None:
        self.address = address
        self.bits = bits

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CIDR) and (other.address, other.bits) == (self.address, self.bits)

    def __hash__(self) -> int:
        return hash((self.address, self.bits))

    def __str__(self) -> str:
        return f"{self.address}/{self.bits}"

    def network(self, bits: int | None = None) -> Any:
        return ipaddress.ip_network((self.address, self.bits if bits is None else bits), strict=False)


def parse_ip(text: str) -> Address:
    """EvaluationError, in upstream's words, for anything but a plain address."""
    shown = json.dumps(text, ensure_ascii=False)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        reason = f"ParseAddr({shown}): unable to parse IP"
        raise EvaluationError(f"IP Address {shown} parse error during conversion from string: {reason}") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise EvaluationError(f"IP address {shown} with zone value is not allowed")
        if address.ipv4_mapped:
            raise EvaluationError(f"IPv4-mapped IPv6 address {shown} is not allowed")
    return address


def parse_cidr(text: str) -> CIDR:
    shown = json.dumps(text, ensure_ascii=False)
    failed = "network address parse error during conversion from string: "
    address, slash, bits = text.partition("/")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        parsed = None
    if parsed is None or not slash or (isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id):
        reason = "unable to parse IP" if slash else "no '/'"
        raise EvaluationError(f"{failed}{failed}netip.ParsePrefix({shown}): {reason}")
    valid = bits.isascii() and bits.isdigit() and len(bits) <= 3 and (bits == "0" or bits[0] != "0")
    if not valid or int(bits) > parsed.max_prefixlen:
        reason = "prefix length out of range" if valid else f"bad bits after slash: {json.dumps(bits)}"
        raise EvaluationError(f"{failed}{failed}netip.ParsePrefix({shown}): {reason}")
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        raise EvaluationError(f"{failed}IPv4-mapped IPv6 address {shown} is not allowed")
    return CIDR(parsed, int(bits))


def _is(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def run(text: str) -> bool:
        try:
            parse(text)
        except EvaluationError:
            return False
        return True

    return run


def is_canonical(text: str) -> bool:
    return str(parse_ip(text)) == text


def _link_local_multicast(ip: IP) -> bool:
    if ip.address.version == 4:
        return ip.address in _MULTICAST_4
    return ip.address.packed[0] == 0xFF and ip.address.packed[1] & 0x0F == 2


_MULTICAST_4 = ipaddress.ip_network("224.0.0.0/24")
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


def _global_unicast(ip: IP) -> bool:
    address = ip.address
    excluded = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not excluded and address != _BROADCAST


def contains_ip(cidr: CIDR, ip: IP) -> bool:
    return cidr.address.version == ip.address.version and ip.address in cidr.network()


def contains_cidr(cidr: CIDR, other: CIDR) -> bool:
    if cidr.address.version != other.address.version or cidr.bits > other.bits:
        return False
    # upstream compares the masked network with the other's own address: it must be the network's first
    return bool(cidr.network().network_address == other.network(cidr.bits).network_address)


def _bytes_cost(*arguments: Any) -> int:
    return half_open(2 * (arguments[0].address.max_prefixlen // 8))


def _contains_cidr_cost(*arguments: Any) -> int:
    return _bytes_cost(*arguments) + half_open(arguments[0].address.max_prefixlen // 8) + 1


def _with_text(cost: Callable[..., int]) -> Callable[..., int]:
    return lambda *arguments: cost(*arguments) + half_open(len(arguments[1]))


def library() -> Library:
    made = Library("net")
    add = made.add
    ip, cidr = IP.type_name, CIDR.type_name
    made.names.update({ip: TYPE, cidr: TYPE})
    add("ip", "string_to_ip", f"string -> {ip}", lambda text: IP(parse_ip(text)), cost=text_cost)
    add("isIP", "is_ip", "string -> bool", _is(parse_ip), cost=text_cost)
    add(
        "ip.isCanonical",
        "ip_is_canonical",
        "string -> bool",
        is_canonical,
        cost=lambda text, _: half_open(2 * len(text)),
    )
    add("family", "ip_family", f"{ip}.() -> int", lambda a: a.address.version)
    add("isUnspecified", "ip_is_unspecified", f"{ip}.() -> bool", lambda a: a.address.is_unspecified)
    add("isLoopback", "ip_is_loopback", f"{ip}.() -> bool", lambda a: a.address.is_loopback)
    add("isLinkLocalMulticast", "ip_is_link_local_multicast", f"{ip}.() -> bool", _link_local_multicast)
    add("isLinkLocalUnicast", "ip_is_link_local_unicast", f"{ip}.() -> bool", lambda a: a.address.is_link_local)
    add("isGlobalUnicast", "ip_is_global_unicast", f"{ip}.() -> bool", _global_unicast)
    add("string", "ip_to_string", f"{ip} -> string", str)
    add("cidr", "string_to_cidr", f"string -> {cidr}", parse_cidr, cost=text_cost)
    add("isCIDR", "is_cidr", "string -> bool", _is(parse_cidr), cost=text_cost)
    add(
        "containsIP",
        "cidr_contains_ip_string",
        f"{cidr}.(string) -> bool",
        lambda a, b: contains_ip(a, IP(parse_ip(b))),
        cost=_with_text(_bytes_cost),
    )
    add("containsIP", "cidr_contains_ip_ip", f"{cidr}.({ip}) -> bool", contains_ip, cost=_bytes_cost)
    add(
        "containsCIDR",
        "cidr_contains_cidr_string",
        f"{cidr}.(string) -> bool",
        lambda a, b: contains_cidr(a, parse_cidr(b)),
        cost=_with_text(_contains_cidr_cost),
    )
    add("containsCIDR", "cidr_contains_cidr", f"{cidr}.({cidr}) -> bool", contains_cidr, cost=_contains_cidr_cost)
    add("ip", "cidr_ip", f"{cidr}.() -> {ip}", lambda a: IP(a.address))
    add("prefixLength", "cidr_prefix_length", f"{cidr}.() -> int", lambda a: a.bits)
    add("masked", "cidr_masked", f"{cidr}.() -> {cidr}", lambda a: CIDR(a.network().network_address, a.bits))
    add("string", "cidr_to_string", f"{cidr} -> string", str)
    return made
