"""The reference recording of a JSON request: base64, a data URL, or a URL on a listed host.

A URL is fetched only from a host that the operator listed, without redirects, within limits of size and time. A listed
name that resolves to a private address is rejected, unless that address is listed, too: DNS records can change.
"""

import base64
import binascii
import re
import socket
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from openai_frontend.api.bodies.addresses import is_public
from openai_frontend.errors import ApiError, invalid
from openai_frontend.settings import Settings
from openai_frontend.thread_pools import WorkerPool

_DATA_URL: Final = re.compile(r"data:(?P<head>[^,]{0,200}),", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]{0,20}://", re.IGNORECASE)
_MAX_ADDRESS_CHARS: Final = 2048
# Percent-encoding triples a recording's size and is slow to decode.
_MAX_PERCENT_ENCODED_CHARS: Final = 2**20
# One piece takes far less than a millisecond, so that other threads can run.
_PIECE_CHARS: Final = 2**17
_FETCH_S: Final = 15.0
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


async def read_ref_audio(value: str, settings: Settings, uploads: WorkerPool) -> bytes:
    """The file that `value` contains or refers to, unchanged; decoded in a thread of `uploads`. Raises ApiError 400."""
    address = value[: _MAX_ADDRESS_CHARS + 1].strip()
    if not _ADDRESS.match(address):
        return await uploads.run(parse_ref_audio, value)
    if len(address) > _MAX_ADDRESS_CHARS:
        message = f"ref_audio is a URL of over {_MAX_ADDRESS_CHARS} characters. Send the recording itself."
        raise invalid("ref_audio", message, "string_above_max_length")
    return await _fetch(address, settings)


def parse_ref_audio(text: str) -> bytes:
    """The file in a data URL or in plain base64, with or without padding. Takes some 50 ms for 10 MiB, in short pieces
    between which other threads run. Raises ApiError 400."""
    text = text.strip()
    match = _DATA_URL.match(text)
    if match is None or match["head"].lower().endswith(";base64"):
        return _decode_base64(text, match.end() if match else 0)
    if len(text) > _MAX_PERCENT_ENCODED_CHARS:
        message = "ref_audio is a large data URL without base64. Send it as `data:audio/wav;base64,...`."
        raise invalid("ref_audio", message, "string_above_max_length")
    return unquote_to_bytes(text[match.end() :])


def _decode_base64(text: str, begin: int) -> bytes:
    text = text.rstrip("= \t\r\n")  # the padding, which may be missing
    decoded = bytearray()
    rest = ""
    try:
        for start in range(begin, len(text), _PIECE_CHARS):
            piece = rest + "".join(text[start : start + _PIECE_CHARS].split())
            whole = len(piece) // 4 * 4
            if "=" in piece:
                raise ValueError("padding in the middle")
            decoded += base64.b64decode(piece[:whole], validate=True)
            rest = piece[whole:]
        return bytes(decoded + base64.b64decode(rest + "=" * (-len(rest) % 4), validate=True))
    except (binascii.Error, ValueError):
        message = "ref_audio is neither base64 nor a data URL. Send the recording as `data:audio/wav;base64,...`."
        raise invalid("ref_audio", message) from None


async def _fetch(address: str, settings: Settings) -> bytes:
    hosts = {host.strip().lower() for host in settings.ref_audio_hosts.split(",") if host.strip()}
    if _host(address) not in hosts:
        message = "Downloading ref_audio from this host is not allowed. Send the file as base64 or as a data URL."
        raise invalid("ref_audio", message, "ref_audio_host_not_allowed")
    timeout = aiohttp.ClientTimeout(total=_FETCH_S)
    connector = aiohttp.TCPConnector(resolver=_GuardedResolver(hosts), use_dns_cache=False)
    try:
        async with (
            # A recording does not benefit from compression, and a file that expands a thousandfold is not a recording.
            aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session,
            session.get(address, allow_redirects=False) as reply,
        ):
            if reply.status != 200:
                raise _unfetched(f"its host answered {reply.status}")
            return await _read(reply, settings.max_upload_bytes)
    except TimeoutError:
        raise _unfetched(f"its host took longer than {_FETCH_S:g} s") from None
    except (aiohttp.ClientError, ValueError) as error:
        raise _unfetched(type(error).__name__) from None


async def _read(reply: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    data = bytearray()
    async for piece in reply.content.iter_any():
        data += piece
        if len(data) > limit_bytes:
            raise _unfetched(f"it is over {limit_bytes} bytes")
    return bytes(data)


def _host(address: str) -> str:
    """`host`, or `host:port` if the port is not the scheme's default; empty for URLs that are never fetched."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return ""
    default = _DEFAULT_PORTS.get(parts.scheme.lower())
    if default is None or "@" in parts.netloc or not parts.hostname:
        return ""
    return parts.hostname if port in {None, default} else f"{parts.hostname}:{port}"


class _GuardedResolver(AbstractResolver):
    """Resolves to public addresses and listed ones only."""

    def __init__(self, hosts: set[str]) -> None:
        self._listed = {host.rpartition(":")[0] or host for host in hosts} | hosts
        self._system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._system.resolve(host, port, family)
        allowed = [row for row in found if row["host"] in self._listed or is_public(row["host"])]
        if not allowed:
            raise OSError(f"{host} resolves to a private address")
        return allowed

    async def close(self) -> None:
        await self._system.close()


def _unfetched(why: str) -> ApiError:
    return invalid("ref_audio", f"The recording could not be fetched: {why}. Send the file itself.", "fetch_failed")
