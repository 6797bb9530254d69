"""Addresses that a recording may be fetched from, and those that only resemble them."""

import ipaddress
import socket
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_frontend.api.bodies.addresses import is_public
from tests.support.replies import check
from tests.support.stack import Frontend

PRIVATE = ("127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0")
SPECIAL = ("224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "192.88.99.1")
IPV6 = (
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1"),
    *("ff02::1", "ff0e::1", "ff05::2"),  # multicast, of every scope
    *("2001:db8::1", "3fff::1", "100::1", "2001:10::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "5f00::1", "4000::1"),
    *("64:ff9b:1::a00:1", "64:ff9b:1:ffff::8.8.8.8", "64:ff9b:0:0:0:1:808:808"),
    *("::8.8.8.8", "::127.0.0.1"),
)
PUBLIC = ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e")


def carriers(address: str) -> list[str]:
    """IPv6 addresses that lead to an IPv4 one."""
    number = int(ipaddress.IPv4Address(address))
    high, low = number >> 16, number & 0xFFFF
    return [f"::ffff:{address}", f"64:ff9b::{address}", f"2002:{high:x}:{low:x}::1"]


@pytest.mark.parametrize("address", [*PRIVATE, *SPECIAL, *IPV6])
def test_what_is_not_global_unicast_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", [*PRIVATE, *SPECIAL])
def test_an_address_that_carries_a_private_one_is_not_public(address: str) -> None:
    assert [carrier for carrier in carriers(address) if is_public(carrier)] == []


@pytest.mark.parametrize("address", [*PUBLIC, *carriers("8.8.8.8")])
def test_hosts_of_the_internet_are_public_through_translators_too(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_outside_of_global_unicast_and_translators_is_public(address: ipaddress.IPv6Address) -> None:
    unicast = address in ipaddress.ip_network("2000::/3")
    carries = address.ipv4_mapped or address in ipaddress.ip_network("64:ff9b::/96")
    assert unicast or carries or not is_public(str(address))


def test_a_listed_name_is_not_followed_to_an_address_that_carries_a_private_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resolve = socket.getaddrinfo

    def lying(host: object, port: object, *arguments: object, **options: object) -> object:
        if host == "recordings.example":
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (carrier, 80, 0, 0)) for carrier in carriers("127.0.0.1")
            ]
        return resolve(host, port, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", lying)
    settings = {"ref_audio_hosts": "recordings.example", "voices_folder": str(tmp_path)}
    with Frontend(triton_url="http://127.0.0.1:9", **settings) as frontend:
        body = {"input": "Hello.", "ref_audio": "http://recordings.example/anna.wav"}
        reply = httpx2.post(f"{frontend.url}/v1/audio/speech", json=body, timeout=30)
    check(reply, 400, "ref_audio", "fetch_failed")
