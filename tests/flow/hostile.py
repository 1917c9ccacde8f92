"""A web server that behaves as it is told, byte for byte, for the tests of captures."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PAGE = "<html><body><h1>底价 9.90</h1></body></html>".encode()


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def sized(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return answer(body, f"Content-Length: {len(body)}", *headers, status=status)


@dataclass
class Server:
    """`pages` is what each path is answered with: (pause in seconds, bytes) one after the other. `asked` is what came."""

    port: int = 0
    pages: dict[str, list[tuple[float, bytes]]] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)

    def page(self, path: str, *parts: bytes, pause: float = 0.0) -> None:
        self.pages[path] = [(pause, part) for part in parts]

    def paths(self) -> list[str]:
        return [request.split(b" ")[1].decode() for request in self.asked]


@contextmanager
def serving(certificate: Path | None = None, endless: bytes = b"") -> Iterator[Server]:
    """On 127.0.0.1; with TLS where a certificate (PEM with its key) is given. `/endless` sends `endless` until nobody reads."""
    state = Server()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                connection: socket.socket = self.request
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                request = b""
                while b"\r\n\r\n" not in request:
                    data = connection.recv(4096)
                    if not data:
                        return
                    request += data
                state.asked.append(request)
                path = state.paths()[-1].split("?")[0]
                for pause, part in state.pages.get(path, [(0.0, sized(b"", status="404 Not Found"))]):
                    time.sleep(pause)
                    connection.sendall(part)
                while path == "/endless":
                    connection.sendall(endless)
                connection.close()

    class Threads(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Threads(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield state
        finally:
            server.shutdown()
