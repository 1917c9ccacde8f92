"""Parts of a world over the wire, so that fetching can be tried against something that behaves like a real service.

`python -m fangcuan.simulate.serve WORLD --port 8765` serves until SIGTERM or for `--seconds`. It listens on the loopback
interface only. Some pages answer 429 or 503 on the first try: always the same pages, so a test can count on it.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import signal
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from fangcuan.simulate.sql import load_sql

__all__ = ["DEFAULT_TOKEN", "load_sql", "main", "serve"]

DEFAULT_TOKEN = "sample-token"
MAX_PER_PAGE = 1000


class _Problem(Exception):
    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


class WorldServer(ThreadingHTTPServer):
    """Serves `/price_observations` and `/nights` of one world folder; `url` is where."""

    daemon_threads = True

    def __init__(
        self, world: Path, host: str, port: int, token: str = DEFAULT_TOKEN, flaky: bool = True, retry_after: int = 1
    ) -> None:
        if not ipaddress.ip_address("127.0.0.1" if host == "localhost" else host).is_loopback:
            raise ValueError(f"host: {host} is not a loopback address; a world is served to this machine only")
        self.folder = world / "feeds" / "price_observations"
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{world}: no price observations; expected feeds/price_observations/*.jsonl")
        self.token, self.flaky, self.retry_after = token, flaky, retry_after
        self.tried: set[str] = set()
        self.lock = threading.Lock()
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def nights(self) -> list[str]:
        return sorted({path.name[:10] for path in self.folder.glob("*.jsonl")})

    def rows(self, night: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for path in sorted(self.folder.glob(f"{night}*.jsonl")):
            with path.open(encoding="utf-8") as handle:
                found += [json.loads(line) for line in handle]
        return found

    def stumble(self, key: str) -> None:
        """Fail on the first try of some pages; the second try succeeds."""
        with self.lock:
            first = key not in self.tried
            self.tried.add(key)
        if not (first and self.flaky):
            return
        luck = zlib.crc32(key.encode()) % 7
        if luck == 0:
            raise _Problem(429, "too many requests", {"Retry-After": str(self.retry_after)})
        if luck == 3:
            raise _Problem(503, "the service is being restarted")

    def handle_error(self, request: Any, client_address: tuple[str, int]) -> None:
        # A client that hangs up is no fault of the service; anything else is, and is told.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: WorldServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            body, status, headers = self._answer(), 200, {}
        except _Problem as problem:
            body, status, headers = {"error": str(problem)}, problem.status, problem.headers
        data = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _answer(self) -> dict[str, object]:
        address = urlsplit(self.path)
        if address.path == "/health":
            return {"status": "ok"}
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            raise _Problem(401, "send the header Authorization: Bearer <token>", {"WWW-Authenticate": "Bearer"})
        if address.path == "/nights":
            return {"nights": self.server.nights()}
        if address.path == "/price_observations":
            return self._page(parse_qs(address.query))
        raise _Problem(404, f"nothing at {address.path}; try /nights or /price_observations")

    def _page(self, query: dict[str, list[str]]) -> dict[str, object]:
        night = query.get("arrived", [""])[0]
        if len(night) != 10 or not night.replace("-", "").isdigit():
            raise _Problem(400, "arrived: give a date such as 2026-03-14")
        page = self._number(query, "page", 1, 1_000_000)
        size = self._number(query, "per_page", 100, MAX_PER_PAGE)
        self.server.stumble(f"{night}|{page}")
        rows = self.server.rows(night)
        answer: dict[str, object] = {
            "arrived": night,
            "page": page,
            "per_page": size,
            "total": len(rows),
            "items": rows[(page - 1) * size : page * size],
            "next": None,
        }
        if page * size < len(rows):
            more = urlencode({"arrived": night, "page": page + 1, "per_page": size})
            answer["next"] = f"/price_observations?{more}"
        return answer

    def _number(self, query: dict[str, list[str]], name: str, default: int, most: int) -> int:
        text = query.get(name, [str(default)])[0]
        if not text.isdigit() or not 1 <= int(text) <= most:
            raise _Problem(400, f"{name}: {text!r} is not a number from 1 to {most}")
        return int(text)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the caller has its own log."""


@contextlib.contextmanager
def serve(
    world_dir: Path | str,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = DEFAULT_TOKEN,
    flaky: bool = True,
    retry_after: int = 1,
) -> Iterator[WorldServer]:
    """Serve a world on a thread while the block runs: `with serve(world) as server: fetch(server.url)`."""
    server = WorldServer(Path(world_dir), host, port, token, flaky, retry_after)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `python -m fangcuan.simulate.serve`."""
    parser = argparse.ArgumentParser(prog="python -m fangcuan.simulate.serve", description="Serve a world folder.")
    parser.add_argument("world", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--token", default=DEFAULT_TOKEN)
    parser.add_argument("--seconds", type=float, default=None, help="end by itself after so long")
    parser.add_argument("--steady", action="store_true", help="never answer 429 or 503")
    parser.add_argument("--sql", default=None, metavar="URL", help="also load the sales feed there first")
    given = parser.parse_args(arguments)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    if given.sql:
        load_sql(given.world, given.sql)
    with serve(given.world, given.host, given.port, given.token, flaky=not given.steady) as server:
        print(json.dumps({"url": server.url}), flush=True)
        done.wait(given.seconds)


if __name__ == "__main__":
    main()
