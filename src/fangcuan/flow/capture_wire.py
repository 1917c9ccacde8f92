"""One HTTP exchange with a host that is not trusted: an address that was checked, bounded time and size, every byte kept."""

from __future__ import annotations

import datetime as dt
import hashlib
import http.client
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from fangcuan import __version__

CLIENT = f"fangcuan/{__version__}"
MIB = 1 << 20
REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: NAT64 (RFC 6052): the last 32 bits are the IPv4 address that is really asked.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


class CaptureRefused(Exception):
    """The page may not be asked for, or what it sends cannot be kept; the message says why."""


class CaptureFailed(Exception):
    """The page could not be fetched. Trying again later may help."""


@dataclass(frozen=True)
class Limits:
    """Of one capture with all its redirects. Bytes are those on the wire; nothing is decompressed."""

    seconds: float = 60.0
    silence_seconds: float = 15.0
    most_bytes: int = 20 * MIB
    redirects: int = 5


@dataclass(frozen=True)
class Exchange:
    """One request and its answer as they went over the wire. `complete` is False where the answer was cut short.

    `certificate_sha256` is that of the server's certificate (DER), None over plain HTTP.
    """

    url: str
    at: dt.datetime
    address: str
    request: bytes
    response: bytes
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    complete: bool
    tls: str | None = None
    certificate_sha256: str | None = None

    @property
    def location(self) -> str | None:
        """Where a redirect leads, as an absolute URL; None for any other answer. Raises CaptureRefused for what is no address."""
        target = next((value for name, value in self.headers if name.lower() == "location"), None)
        if self.status not in REDIRECTS or target is None:
            return None
        if _CONTROL.search(target):
            # Joining would leave them out in silence.
            raise CaptureRefused(f"{self.url}: redirects to {target[:200]!r}, which is no address")
        with suppress(UnicodeError):
            target = target.encode("latin-1").decode("utf-8")
        try:
            return urljoin(self.url, target)
        except ValueError as error:
            raise CaptureRefused(f"{self.url}: redirects to {target[:200]!r}: {error}") from error


def checked_url(url: str) -> str:
    """An http(s) URL in ASCII. Raises CaptureRefused for any other, and for one that could forge a header."""
    if _CONTROL.search(url):
        raise CaptureRefused(f"{url[:200]!r}: control characters and spaces are no part of an address")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        ascii_host = (host or "").encode("idna").decode("ascii")
    except (ValueError, UnicodeError) as error:
        raise CaptureRefused(f"{url[:200]!r}: {error}") from error
    if parts.scheme not in {"http", "https"} or not ascii_host:
        raise CaptureRefused(f"{url[:200]!r}: expected an address that begins with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise CaptureRefused(f"{parts.scheme}://{ascii_host}/…: an address with a password in it is not asked for")
    shown = f"[{ascii_host}]" if ":" in ascii_host else ascii_host
    path, query = (quote(part, safe="/%:=&?~+!$,;'@()*") for part in (parts.path or "/", parts.query))
    return f"{parts.scheme}://{shown}{f':{port}' if port is not None else ''}{path}{f'?{query}' if query else ''}"


def checked_address(host: str, port: int, allow: Collection[str]) -> str:
    """The address to connect to: resolved once, and public, unless `allow` names the host (`shop.local`, `10.0.0.7`).

    Raises CaptureRefused where any address of the name is not public, CaptureFailed where it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CaptureFailed(f"{host}: the name cannot be resolved") from error
    addresses = list(dict.fromkeys(str(entry[4][0]).split("%")[0] for entry in found))
    if host.lower() not in {name.lower() for name in allow}:
        for address in addresses:
            if not is_public(address):
                raise CaptureRefused(
                    f"{host} is not a public address; capture_allow names hosts that may be asked anyway"
                )
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether anybody on the internet could ask this address; private, loopback, link-local and metadata ones are not."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _NAT64:
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        else:
            parsed = parsed.ipv4_mapped or parsed.sixtofour or parsed
    return parsed.is_global and not parsed.is_multicast


def exchange(url: str, allow: Collection[str], limits: Limits, deadline: float, left: int) -> Exchange:
    """Ask for one URL (of `checked_url`), without following anywhere. `deadline` is of time.monotonic, `left` in bytes.

    Raises CaptureRefused or CaptureFailed.
    """
    parts = urlsplit(url)
    host, secure = str(parts.hostname), parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    address = checked_address(host, port, allow)
    request = _request(parts.netloc, f"{parts.path}{f'?{parts.query}' if parts.query else ''}")
    at = dt.datetime.now(dt.UTC)
    tls = certificate = None
    try:
        # The very address that was checked: the name is not resolved again.
        with socket.create_connection((address, port), timeout=_patience(limits, deadline)) as plain:
            stream: Any = plain
            if secure:
                stream = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
                tls = str(stream.version())
                certificate = hashlib.sha256(stream.getpeercert(binary_form=True)).hexdigest()
            with stream:
                stream.sendall(request)
                wire = Wire(stream, limits, deadline, left)
                status, reason, headers, complete = _answer(wire)
                response = wire.taken()
    except ssl.SSLError as error:
        raise CaptureFailed(f"{url}: no secure connection: {error}") from error
    except TimeoutError as error:
        _patience(limits, deadline)
        raise CaptureFailed(f"{url}: nothing came for {limits.silence_seconds:g} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CaptureFailed(f"{url}: {type(error).__name__}: {error}") from error
    return Exchange(url, at, address, request, response, status, reason, headers, complete, tls, certificate)


class Wire:
    """What comes from a socket, kept as it came; stops at a size, a time, and a silence. Read by http.client."""

    def __init__(self, stream: Any, limits: Limits, deadline: float, left: int) -> None:
        self._stream, self._limits, self._deadline, self._left = stream, limits, deadline, left
        self._bytes = bytearray()
        self._at = 0

    def makefile(self, *_: object) -> Wire:
        return self

    def readline(self, limit: int = -1) -> bytes:
        while (end := self._bytes.find(b"\n", self._at)) < 0:
            if 0 <= limit <= len(self._bytes) - self._at or not self._more():
                return self._take(limit)
        return self._take(end + 1 - self._at if limit < 0 else min(limit, end + 1 - self._at))

    def read(self, amount: int = -1) -> bytes:
        while amount < 0 or len(self._bytes) - self._at < amount:
            if not self._more():
                break
        return self._take(amount)

    def taken(self) -> bytes:
        """All that was read of the answer; what a server sent beyond its end is left out."""
        return bytes(self._bytes[: self._at])

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _take(self, amount: int) -> bytes:
        end = len(self._bytes) if amount < 0 else min(self._at + amount, len(self._bytes))
        data, self._at = bytes(self._bytes[self._at : end]), end
        return data

    def _more(self) -> bool:
        self._stream.settimeout(_patience(self._limits, self._deadline))
        data = self._stream.recv(65_536)
        if len(self._bytes) + len(data) > self._left:
            raise CaptureRefused(f"more than {self._limits.most_bytes} bytes; nothing of it is kept")
        self._bytes += data
        return bool(data)


def _answer(wire: Wire) -> tuple[int, str, tuple[tuple[str, str], ...], bool]:
    response = http.client.HTTPResponse(wire, method="GET")  # type: ignore[arg-type]
    response.begin()
    complete = True
    try:
        while response.read(65_536):
            pass
        # The library stops in silence where a body is shorter than it was said to be.
        complete = not response.length
    except http.client.IncompleteRead:
        complete = False
    return response.status, response.reason, tuple(response.getheaders()), complete


def _request(netloc: str, target: str) -> bytes:
    lines = (
        f"GET {target} HTTP/1.1",
        f"Host: {netloc}",
        f"User-Agent: {CLIENT}",
        "Accept: text/html,application/xhtml+xml,*/*;q=0.8",
        "Accept-Language: zh-CN,zh;q=0.9,en;q=0.5",
        "Accept-Encoding: identity",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _patience(limits: Limits, deadline: float) -> float:
    """Seconds to wait for the next byte. Raises CaptureFailed once the time for all of it is over."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise CaptureFailed(f"not finished within {limits.seconds:g} s")
    return min(left, limits.silence_seconds)
