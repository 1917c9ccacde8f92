from __future__ import annotations

import base64
import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from fangcuan.ingest.base import Refused, SourceUnavailable
from fangcuan.ingest.connectors.http import HttpOptions

Answer = Callable[["Api", BaseHTTPRequestHandler, dict[str, str]], None]


class Api(ThreadingHTTPServer):
    """A small real HTTP server on the loopback; `answer` decides what it says, `asked` keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Answer = lambda api, handler, params: api.json(handler, [])
        self.asked: list[tuple[float, str, dict[str, str], dict[str, str]]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @staticmethod
    def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
        handler.send_response(status)
        headers.setdefault("Content_Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    def json(self, handler: BaseHTTPRequestHandler, value: Any, **headers: str) -> None:
        self.send(handler, 200, json.dumps(value, ensure_ascii=False).encode(), **headers)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        api: Api = self.server  # type: ignore[assignment]
        parts = urlsplit(self.path)
        params = {name: values[0] for name, values in parse_qs(parts.query).items()}
        api.asked.append((time.monotonic(), parts.path, params, {k.lower(): v for k, v in self.headers.items()}))
        if len(api.asked) > 500:
            raise RuntimeError("asked too often")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            api.answer(api, self, params)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def get(api: Api, fetch, rows) -> Callable[..., list[dict[str, Any]]]:
    def run(secret: str = "", **options: Any) -> list[dict[str, Any]]:
        wanted = {"url": f"{api.url}/items", "allow_private": True, "backoff_seconds": 0.01, "attempts": 3, **options}
        (document,) = fetch("http", wanted, secrets=lambda name: secret)
        return rows("http", document, wanted)

    return run


def three_pages(number: int) -> list[dict[str, Any]]:
    return [{"id": str(number * 10 + at)} for at in range(2)] if number <= 3 else []


ALL = ["10", "11", "20", "21", "30", "31"]


# ------------------------------------------------------------------------------------------------------------- paging


def test_one_page_with_a_path_to_the_items_and_exact_numbers(api, get):
    body = '{"data":{"items":[{"id":1,"price":12.50,"big":123456789012345678901,"nested":{"a":[1.0,null]},"ok":true,"no":null}]}}'
    api.answer = lambda a, h, p: a.send(h, 200, body.encode())
    (row,) = get(items="data.items", params={"day": "{night}", "limit": 5})
    assert row == {
        "id": "1", "price": "12.50", "big": "123456789012345678901", "nested": '{"a":[1.0,null]}', "ok": "true", "no": None,
        "_position": "line 1",
    }  # fmt: skip
    assert api.asked[0][2] == {"day": "2026-03-20", "limit": "5"}


def test_page_numbers(api, get):
    api.answer = lambda a, h, p: a.json(h, three_pages(int(p["page"])))
    found = get(paging={"style": "page", "param": "page", "size_param": "size", "size": 2}, params={"x": "y"})
    assert [row["id"] for row in found] == ALL
    assert api.asked[-1][2] == {"x": "y", "page": "4", "size": "2"}


def test_cursors(api, get):
    def answer(a, h, p):
        number = int(p.get("after", "0")) + 1
        a.json(h, {"items": three_pages(number), "next": number if number < 3 else None})

    api.answer = answer
    assert [
        row["id"] for row in get(items="items", paging={"style": "cursor", "param": "after", "field": "next"})
    ] == ALL


@pytest.mark.parametrize("where", ["field", "header", "relative"])
def test_next_links(api, get, where):
    def answer(a, h, p):
        number = int(p.get("p", "1"))
        link = {"relative": f"?p={number + 1}"}.get(where, f"{a.url}/items?p={number + 1}")
        last = number == 3
        if where == "header":
            a.json(
                h,
                {"items": three_pages(number)},
                **({} if last else {"Link": f'<{a.url}>; rel="first", <{link}>; rel="next"'}),
            )
        else:
            a.json(h, {"items": three_pages(number), "links": {"next": None if last else link}})

    api.answer = answer
    paging = {"style": "link"} if where == "header" else {"style": "link", "field": "links.next"}
    assert [row["id"] for row in get(items="items", paging=paging)] == ALL


def test_paging_that_never_ends_is_refused(api, get):
    api.answer = lambda a, h, p: a.json(h, {"items": [{"id": "1"}], "next": "same"})
    with pytest.raises(Refused) as caught:
        get(items="items", paging={"style": "cursor", "param": "after", "field": "next"})
    assert caught.value.reason == "endless"
    api.answer = lambda a, h, p: a.json(h, [{"id": "1"}])
    with pytest.raises(Refused) as caught:
        get(paging={"style": "page", "param": "page"}, max_pages=5)
    assert caught.value.reason == "too_large"
    assert len(api.asked) < 20


def test_nothing_there_is_an_empty_document(get):
    assert get() == []


# ---------------------------------------------------------------------------------------------------------- credentials


def test_credentials(api, get):
    api.answer = lambda a, h, p: a.json(h, [{"id": "1"}])
    get("t0ken", auth={"kind": "bearer", "secret": "x"})
    get("k3y", auth={"kind": "header", "secret": "x", "header": "X-Key"})
    get("pw", auth={"kind": "basic", "secret": "x", "user": "me"})
    headers = [asked[3] for asked in api.asked]
    assert headers[0]["authorization"] == "Bearer t0ken"
    assert headers[1]["x-key"] == "k3y"
    assert base64.b64decode(headers[2]["authorization"].split()[1]) == b"me:pw"


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_unavailable_at_once_and_not_shown(api, get, status):
    api.answer = lambda a, h, p: a.send(h, status, b"t0ken is wrong")
    with pytest.raises(SourceUnavailable) as caught:
        get("t0ken", auth={"kind": "bearer", "secret": "x"})
    assert "credentials" in str(caught.value)
    assert "t0ken" not in str(caught.value)
    assert len(api.asked) == 1


# -------------------------------------------------------------------------------------------------------- faults


def failing_first(times: int, fail: Answer) -> Answer:
    def answer(a: Api, h: BaseHTTPRequestHandler, p: dict[str, str]) -> None:
        if len(a.asked) <= times:
            fail(a, h, p)
        else:
            a.json(h, [{"id": "1"}])

    return answer


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_faults_are_tried_again(api, get, status):
    api.answer = failing_first(2, lambda a, h, p: a.send(h, status, b"busy"))
    assert len(get()) == 1
    assert len(api.asked) == 3


def test_retry_after_is_obeyed(api, get):
    api.answer = failing_first(1, lambda a, h, p: a.send(h, 429, b"", Retry_After="0.6"))
    get()
    assert api.asked[1][0] - api.asked[0][0] >= 0.6


def test_waiting_grows_between_attempts(api, get):
    api.answer = failing_first(3, lambda a, h, p: a.send(h, 503, b""))
    get(attempts=4, backoff_seconds=0.1)
    moments = [asked[0] for asked in api.asked]
    waits = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert waits[0] >= 0.1
    assert waits[1] >= 0.2
    assert waits[2] >= 0.4


def test_a_source_that_stays_down_is_unavailable(api, get):
    api.answer = lambda a, h, p: a.send(h, 503, b"down")
    with pytest.raises(SourceUnavailable, match="HTTP 503"):
        get()
    assert len(api.asked) == 3
    api.answer = lambda a, h, p: a.send(h, 404, b"")
    with pytest.raises(SourceUnavailable, match="HTTP 404"):
        get()
    assert len(api.asked) == 4


def test_a_port_nobody_listens_on_and_a_name_nobody_has_are_unavailable(fetch):
    for url in ("http://127.0.0.1:1/x", "http://no-such-host.invalid/x"):
        with pytest.raises(SourceUnavailable):
            fetch("http", {"url": url, "allow_private": True, "attempts": 2, "backoff_seconds": 0})


def test_a_server_that_hangs_is_unavailable_after_the_timeout(api, get):
    api.answer = lambda a, h, p: a.released.wait(20)
    started = time.monotonic()
    with pytest.raises(SourceUnavailable):
        get(timeout_seconds=0.3, attempts=2)
    assert time.monotonic() - started < 5


def test_a_server_that_drips_hits_the_deadline(api, get):
    def drip(a, h, p):
        h.send_response(200)
        h.send_header("Content-Length", "1000000")
        h.end_headers()
        while not a.released.wait(0.05):
            h.wfile.write(b" ")
            h.wfile.flush()

    api.answer = drip
    started = time.monotonic()
    with pytest.raises(SourceUnavailable, match="not finished within"):
        get(timeout_seconds=5, deadline_seconds=1)
    assert time.monotonic() - started < 5


def test_half_a_page_is_tried_again_and_then_refused(api, get):
    def half(a, h, p):
        a.send(h, 200, b'[{"id":', Content_Length="5000")
        h.close_connection = True

    api.answer = failing_first(1, half)
    assert len(get()) == 1
    api.answer = half
    with pytest.raises(Refused) as caught:
        get()
    assert caught.value.reason == "truncated"


def test_the_second_page_failing_keeps_nothing_of_the_first(api, get, tmp_path):
    def answer(a, h, p):
        if p["page"] == "1":
            a.json(h, [{"id": "1"}])
        else:
            a.send(h, 500, b"")

    api.answer = answer
    with pytest.raises(SourceUnavailable):
        get(paging={"style": "page", "param": "page"})
    assert [path.name for path in (tmp_path / "staged").iterdir()] in ([], ["partial"])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>busy</html>", "unreadable"),
        (b'[{"id":1}', "unreadable"),
        (b'{"items": 3}', "schema"),
        (b'{"other": []}', "schema"),
        (b'{"items": [1]}', "schema"),
        ('{"items": [{"id":"甲"}]}'.encode("gb18030"), "wrong_encoding"),
        (b'{"items": [{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}", "unreadable"),
        (b'{"items": [{"id": NaN}]}', "unreadable"),
    ],
)
def test_answers_that_cannot_be_used_are_refused(api, get, body, reason):
    api.answer = lambda a, h, p: a.send(h, 200, body)
    with pytest.raises(Refused) as caught:
        get(items="items")
    assert caught.value.reason == reason
    assert "page 1" in (caught.value.position or "")


def test_size_limits_hold_after_decompression(api, get):
    import gzip

    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    api.answer = lambda a, h, p: a.send(h, 200, bomb, Content_Encoding="gzip")
    with pytest.raises(Refused) as caught:
        get(max_page_bytes=1_000_000)
    assert caught.value.reason == "too_large"
    api.answer = lambda a, h, p: a.json(h, [{"id": "x" * 600}])
    with pytest.raises(Refused):
        get(paging={"style": "page", "param": "page"}, max_bytes=2000)


def test_the_rate_is_limited(api, get):
    api.answer = lambda a, h, p: a.json(h, three_pages(int(p["page"])))
    get(paging={"style": "page", "param": "page"}, requests_per_second=10)
    moments = [asked[0] for asked in api.asked]
    assert len(moments) == 4
    assert moments[-1] - moments[0] >= 0.28


# ---------------------------------------------------------------------------------------------------- where it may go


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
    ],
)
def test_private_addresses_are_refused_unless_allowed(api, fetch, url):
    with pytest.raises(SourceUnavailable):
        fetch("http", {"url": url.format(port=api.server_address[1]), "attempts": 1, "timeout_seconds": 1})
    assert api.asked == []


def test_localhost_works_where_private_is_allowed(api, get):
    api.answer = lambda a, h, p: a.json(h, [{"id": "1"}])
    assert len(get(url=f"http://localhost:{api.server_address[1]}/")) == 1
    assert api.asked[0][3]["host"] == f"localhost:{api.server_address[1]}"


def test_redirects_stay_on_the_host(api, get):
    def answer(a, h, p):
        if h.path == "/items":
            a.send(h, 302, b"", Location="/moved?x=1")
        else:
            a.json(h, [{"id": "1"}])

    api.answer = answer
    assert len(get()) == 1
    other = Api()
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        api.answer = lambda a, h, p: a.send(h, 302, b"", Location=f"{other.url}/steal")
        with pytest.raises(SourceUnavailable, match="another host"):
            get("t0ken", auth={"kind": "bearer", "secret": "x"})
        api.answer = lambda a, h, p: a.json(h, {"items": [{"id": "1"}], "next": f"{other.url}/steal"})
        with pytest.raises(SourceUnavailable, match="another host"):
            get(
                "t0ken",
                items="items",
                paging={"style": "link", "field": "next"},
                auth={"kind": "bearer", "secret": "x"},
            )
        assert other.asked == []
    finally:
        other.shutdown()
        other.server_close()
    api.answer = lambda a, h, p: a.send(h, 302, b"", Location="/items")
    with pytest.raises(SourceUnavailable, match="redirects"):
        get()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://h/x"},
        {"url": "file:///etc/passwd"},
        {"url": "http:///x"},
        {"url": "http://u:p@h/x"},
        {"url": "http://h/x", "items": "a..b"},
        {"url": "http://h/x", "paging": {"style": "page"}},
        {"url": "http://h/x", "paging": {"style": "cursor", "param": "c"}},
        {"url": "http://h/x", "auth": {"kind": "magic", "secret": "x"}},
        {"url": "http://h/x", "timeout_seconds": 0},
        {"url": "http://h/x", "nonsense": 1},
    ],
)
def test_options_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValidationError):
        HttpOptions.model_validate(wrong)
