"""A page as a browser shows it: headless Chromium behind a proxy of our own, which checks every host it wants to reach."""

from __future__ import annotations

import os
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any
from urllib.parse import urlsplit

from fangcuan.flow.capture_wire import CaptureFailed, CaptureRefused, Limits, checked_address

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: Milliseconds of the page's own time its scripts get before it is looked at.
SCRIPTS_MS = 5_000
WINDOW = "1280,2400"
_HEAD = 65_536


@dataclass(frozen=True)
class Rendered:
    """`dom` is HTML after scripts ran, `screenshot` PNG; `asked` every host the page wanted: {"host", "address" or "refused"}."""

    dom: bytes
    screenshot: bytes
    browser: str
    asked: tuple[dict[str, str], ...]


def render(url: str, allow: Collection[str], limits: Limits) -> Rendered:
    """Open a URL (of `checked_url`) in a browser without a profile, look at it, and close it.

    Raises CaptureRefused where the page itself may not be asked, CaptureFailed where there is no browser or it gives nothing.
    """
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        raise CaptureFailed("no browser: install chromium (Debian: apt-get install chromium)")
    parts = urlsplit(url)
    checked_address(str(parts.hostname), parts.port or 80, allow)
    with tempfile.TemporaryDirectory(prefix="fangcuan-capture-") as folder, guarding(allow, limits) as proxy:
        picture = Path(folder) / "page.png"
        done = _run([program, *_options(Path(folder), picture, proxy.port), url], folder, limits.seconds)
        version = _run([program, "--version"], folder, limits.seconds).stdout.decode("utf-8", "replace").strip()
        if not done.stdout.strip() or not picture.is_file():
            raise CaptureFailed(f"{url}: the browser gave no page (exit code {done.returncode})")
        if len(done.stdout) + picture.stat().st_size > limits.most_bytes:
            raise CaptureRefused(f"{url}: the rendered page has more than {limits.most_bytes} bytes")
        return Rendered(done.stdout, picture.read_bytes(), version, tuple(proxy.asked))


def _options(folder: Path, picture: Path, port: int) -> list[str]:
    options = [
        "--headless",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--no-default-browser-check",
        "--hide-scrollbars",
        "--mute-audio",
        "--deny-permission-prompts",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={WINDOW}",
        # Everything goes through the proxy, this machine's own addresses too; names are resolved there and nowhere else.
        f"--proxy-server=http://127.0.0.1:{port}",
        "--proxy-bypass-list=<-loopback>",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--disable-quic",
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--webrtc-ip-handling-policy=disable_non_proxied_udp",
        f"--virtual-time-budget={SCRIPTS_MS}",
        f"--screenshot={picture}",
        "--dump-dom",
    ]
    # Chromium refuses its sandbox to root; let captures run as somebody else.
    return [*options, "--no-sandbox"] if os.geteuid() == 0 else options


def _run(command: list[str], folder: str, seconds: float) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "LANG": "C.UTF-8", "TMPDIR": folder}
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise CaptureFailed(f"the browser did not finish within {seconds:g} s") from error
    finally:
        # Its helpers as well: they are a session of their own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
    return subprocess.CompletedProcess(command, process.returncode, out)


@dataclass
class Proxy:
    port: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    taken: int = 0


@contextmanager
def guarding(allow: Collection[str], limits: Limits) -> Iterator[Proxy]:
    """A proxy on this machine that connects to checked addresses only, up to a size and a time for everything together."""
    state = Proxy()
    deadline = time.monotonic() + limits.seconds

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError, ValueError):
                self._serve(self.request)

        def _serve(self, client: socket.socket) -> None:
            client.settimeout(limits.silence_seconds)
            head = b""
            while b"\r\n\r\n" not in head and len(head) < _HEAD:
                data = client.recv(4096)
                if not data:
                    return
                head += data
            first, _, rest = head.partition(b"\r\n")
            method, target, _ = first.decode("ascii").split(" ")
            tunnel = method == "CONNECT"
            parts = urlsplit(f"//{target}" if tunnel else target)
            host, port = str(parts.hostname), parts.port or (443 if tunnel else 80)
            try:
                address = checked_address(host, port, allow)
                server = socket.create_connection((address, port), timeout=limits.silence_seconds)
            except (CaptureRefused, CaptureFailed, OSError) as error:
                state.asked.append({"host": f"{host}:{port}", "refused": str(error)})
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            state.asked.append({"host": f"{host}:{port}", "address": address})
            with server:
                if tunnel:
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
                    # One request a connection: a second one on it could be for another host, unchecked.
                    lines = [
                        line for line in rest.split(b"\r\n") if not line.lower().startswith((b"proxy-", b"connection:"))
                    ]
                    opening = f"{method} {path} HTTP/1.1\r\nConnection: close\r\n".encode()
                    server.sendall(opening + b"\r\n".join(lines))
                _relay(client, server, state, limits, deadline)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        try:
            yield state
        finally:
            server.shutdown()


def _relay(client: socket.socket, server: Any, state: Proxy, limits: Limits, deadline: float) -> None:
    """Pass bytes on in both directions until one side ends, too much came, or the time is over."""
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select([client, server], [], [], min(left, limits.silence_seconds))
        if not ready:
            return
        for one in ready:
            data = one.recv(65_536)
            if not data:
                return
            state.taken += len(data)
            if state.taken > limits.most_bytes:
                return
            (server if one is client else client).sendall(data)
