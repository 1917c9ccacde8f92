"""Requests to public addresses only: a name is resolved once, checked, and that very address is connected to."""

from __future__ import annotations

import ipaddress
import socket

import httpx


class PrivateAddress(Exception):
    """A host whose address may not be asked."""


class GuardedTransport(httpx.BaseTransport):
    """Connects to the address that was checked, so that a name cannot resolve to another one in between; certificates are still
    checked against the name."""

    def __init__(self, *, allow_private: bool):
        self._allow_private = allow_private
        self._inner = httpx.HTTPTransport(retries=0)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        failed: httpx.ConnectError | None = None
        for address in self._addresses(host, port):
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # the Host header keeps the name
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return self._inner.handle_request(pinned)
            except httpx.ConnectError as error:
                failed = error
        raise failed or httpx.ConnectError(f"{host}: the name has no address")

    def close(self) -> None:
        self._inner.close()

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            raise httpx.ConnectError(f"{host}: the name cannot be resolved") from error
        addresses = list(dict.fromkeys(str(entry[4][0]).split("%")[0] for entry in found))
        if not self._allow_private:
            for address in addresses:
                if not _is_public(address):
                    text = f"{host} is a private address; set allow_private: true if it is yours"
                    raise PrivateAddress(text)
        return addresses


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    parsed = mapped or parsed
    return parsed.is_global and not parsed.is_multicast
