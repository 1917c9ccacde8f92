"""Captures of pages: what went over the wire is kept whole, and hosts, sizes and times that must not be had are refused."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import io
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from warcio.archiveiterator import ArchiveIterator

from fangcuan.flow import capture_wire
from fangcuan.flow.capture_wire import CaptureFailed, CaptureRefused, Limits, checked_address, checked_url, is_public
from fangcuan.flow.capturing import Capture, capture_into
from fangcuan.flow.installation import Installation, initialise

sys.path.insert(0, str(Path(__file__).parent))
from hostile import PAGE, Server, answer, serving, sized

QUICK = Limits(seconds=2.0, silence_seconds=0.5, most_bytes=200_000)


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    return initialise(tmp_path / "home", capture_allow=["127.0.0.1"])


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(endless=b"x" * 65_536) as running:
        yield running


def records(home: Installation, capture: Capture) -> list[tuple[str, str, bytes]]:
    """(type, URL, block) of every record of the stored file; its digests are checked on the way."""
    data = home.evidence.get(capture.sha256)
    for record in ArchiveIterator(io.BytesIO(data), check_digests="raise"):
        record.raw_stream.read()
    found = []
    for record in ArchiveIterator(io.BytesIO(data), no_record_parse=True):
        found.append((record.rec_type, record.rec_headers.get_header("WARC-Target-URI"), record.raw_stream.read()))
    return found


def context(home: Installation, capture: Capture) -> Any:
    return json.loads(next(block for kind, _, block in records(home, capture) if kind == "metadata"))


def refused(home: Installation, url: str, limits: Limits = QUICK) -> str:
    """What is said of a page that is not kept; nothing of it is stored."""
    with pytest.raises(CaptureRefused) as error:
        capture_into(home, url, limits=limits)
    assert list(home.evidence.digests()) == []
    return str(error.value)


def failed(home: Installation, url: str, limits: Limits = QUICK) -> str:
    with pytest.raises(CaptureFailed) as error:
        capture_into(home, url, limits=limits)
    assert list(home.evidence.digests()) == []
    return str(error.value)


def test_every_byte_is_kept_with_its_circumstances(home: Installation, server: Server) -> None:
    sent = sized(PAGE, "Content-Type: text/html; charset=utf-8", "X-Odd:  two  spaces ", "x-odd: again")
    server.page("/item", sent)
    url = f"http://127.0.0.1:{server.port}/item?sku=1&q=底价"
    before = dt.datetime.now(dt.UTC)
    capture = capture_into(home, url)
    assert (capture.status, capture.complete, capture.address, capture.certificate_sha256) == (
        200,
        True,
        "127.0.0.1",
        None,
    )
    assert before <= capture.at <= dt.datetime.now(dt.UTC)
    asked = f"http://127.0.0.1:{server.port}/item?sku=1&q=%E5%BA%95%E4%BB%B7"
    by_kind = {kind: (target, block) for kind, target, block in records(home, capture)}
    assert by_kind["response"] == (asked, sent)
    assert by_kind["request"] == (asked, server.asked[0])
    assert b"User-Agent: fangcuan/" in server.asked[0]
    about = context(home, capture)
    assert about["url"] == url
    assert [(one["address"], one["status"], one["url"]) for one in about["exchanges"]] == [("127.0.0.1", 200, asked)]
    assert hashlib.sha256(home.evidence.get(capture.sha256)).hexdigest() == capture.sha256
    # As any reader of WARC files takes it.
    for record in ArchiveIterator(io.BytesIO(home.evidence.get(capture.sha256))):
        if record.rec_type == "response":
            assert record.content_stream().read() == PAGE


def test_redirects_are_followed_and_kept(home: Installation, server: Server) -> None:
    server.page("/old", sized(b"", "Location: /new?x=1", status="302 Found"))
    server.page("/new", sized(PAGE))
    capture = capture_into(home, f"http://127.0.0.1:{server.port}/old")
    assert capture.final_url == f"http://127.0.0.1:{server.port}/new?x=1"
    kinds = [kind for kind, _, _ in records(home, capture)]
    assert (kinds.count("request"), kinds.count("response")) == (2, 2)
    assert [one["status"] for one in context(home, capture)["exchanges"]] == [302, 200]


def test_chunks_and_an_error_page_are_kept_as_they_came(home: Installation, server: Server) -> None:
    sent = answer(b"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n", "Transfer-Encoding: chunked", status="451 Unavailable")
    server.page("/chunks", sent)
    capture = capture_into(home, f"http://127.0.0.1:{server.port}/chunks")
    assert (capture.status, capture.complete) == (451, True)
    assert [block for kind, _, block in records(home, capture) if kind == "response"] == [sent]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate for localhost that this machine trusts, with its key in one file."""
    folder = tmp_path / "tls"
    folder.mkdir()
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    done = subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:localhost"], cwd=folder, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    (folder / "both.pem").write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
    return folder


def test_the_certificate_of_a_secure_page_is_written_down(tmp_path: Path, authority: Path) -> None:
    home = initialise(tmp_path / "home", capture_allow=["localhost", "127.0.0.1"])
    with serving(authority / "both.pem") as server:
        server.page("/", sized(PAGE))
        capture = capture_into(home, f"https://localhost:{server.port}/")
        der = subprocess.run(
            ["openssl", "x509", "-in", str(authority / "cert.pem"), "-outform", "DER"], capture_output=True, check=True
        ).stdout
        assert capture.certificate_sha256 == hashlib.sha256(der).hexdigest()
        assert context(home, capture)["exchanges"][0]["tls"].startswith("TLSv1")
        # The certificate is for the name, and this address is not that name.
        with pytest.raises(CaptureFailed, match="no secure connection"):
            capture_into(home, f"https://127.0.0.1:{server.port}/")


PRIVATE = ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://[::1]/", "http://192.168.1.1:8080/"]


@pytest.mark.parametrize(
    "target", [*PRIVATE, "http://localhost/", "http://0.0.0.0/", "http://2130706433/", "http://0x7f.1/"]
)
def test_private_hosts_are_refused_at_once_and_after_a_redirect(
    home: Installation, server: Server, target: str
) -> None:
    assert "is not a public address" in refused(home, target)
    server.page("/away", sized(b"", f"Location: {target}", status="302 Found"))
    assert "is not a public address" in refused(home, f"http://127.0.0.1:{server.port}/away")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("100.100.100.200", False),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
        ("fd00:ec2::254", False),
        ("224.0.0.1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_name_that_also_has_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNS server can say anything, and both at once."""

    def found(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("8.8.8.8", "127.0.0.1")]

    monkeypatch.setattr(capture_wire.socket, "getaddrinfo", found)
    with pytest.raises(CaptureRefused):
        checked_address("shop.example", 80, ())
    assert checked_address("shop.example", 80, ("Shop.Example",)) == "8.8.8.8"


def test_dns_cannot_change_between_check_and_use(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is resolved once; whatever it would be the second time is never asked."""
    home = initialise(tmp_path / "home", capture_allow=["shop.example"])
    server.page("/", sized(PAGE))
    times = []

    def found(host: str, port: int, **_: Any) -> list[Any]:
        times.append(host)
        address = "127.0.0.1" if len(times) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    real = socket.getaddrinfo
    monkeypatch.setattr(
        capture_wire.socket,
        "getaddrinfo",
        lambda host, *a, **k: (found if host == "shop.example" else real)(host, *a, **k),
    )
    assert capture_into(home, f"http://shop.example:{server.port}/").status == 200
    assert times == ["shop.example"]
    assert f"Host: shop.example:{server.port}".encode() in server.asked[0]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://127.0.0.1:25/_HELO",
        "http:///nothing",
        "//127.0.0.1/",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1/\r\nX-Forged: 1",
        "http://127.0.0.1/a b",
        "http://127.0.0.1\t/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
    ],
)
def test_other_addresses_and_forged_headers_are_refused(home: Installation, server: Server, url: str) -> None:
    said = refused(home, url)
    assert "secret" not in said
    assert "\r" not in said
    with pytest.raises(CaptureRefused):
        checked_url(url)
    assert server.asked == []


def test_a_redirect_cannot_forge_a_header_or_leave_http(home: Installation, server: Server) -> None:
    for name, target in {"tab": "/x\tHTTP/1.1", "file": "file:///etc/passwd", "script": "javascript:alert(1)"}.items():
        server.page(f"/{name}", sized(b"", f"Location: {target}", status="302 Found"))
        refused(home, f"http://127.0.0.1:{server.port}/{name}")
    assert server.paths() == ["/tab", "/file", "/script"]


def test_redirects_end(home: Installation, server: Server) -> None:
    server.page("/round", sized(b"", "Location: /round", status="301 Moved"))
    assert "more than 5 redirects" in refused(home, f"http://127.0.0.1:{server.port}/round")
    assert len(server.asked) == 6


def test_an_endless_body_ends_at_the_limit(home: Installation, server: Server) -> None:
    server.page("/endless", answer(b""))
    assert "more than 200000 bytes" in refused(home, f"http://127.0.0.1:{server.port}/endless")
    server.page("/endless", b"HTTP/1.1 200 OK\r\nX: ")
    said = failed(home, f"http://127.0.0.1:{server.port}/endless")
    assert "LineTooLong" in said


@pytest.mark.parametrize("part", ["body", "head"])
def test_a_slow_answer_ends_in_time(home: Installation, server: Server, part: str) -> None:
    """A byte now and then keeps every single wait short; the time for all of it is what ends it."""
    opening = answer(b"") if part == "body" else b"HTTP/1.1 200 OK\r\nX: "
    server.page("/slow", opening, *[b"x"] * 100, pause=0.2)
    began = time.monotonic()
    assert "not finished within 2 s" in failed(home, f"http://127.0.0.1:{server.port}/slow")
    assert time.monotonic() - began < 4
    server.page("/silent", opening, b"x", pause=30)
    assert "nothing came for 0.5 s" in failed(home, f"http://127.0.0.1:{server.port}/silent")


def test_a_wrong_length_is_told_and_nothing_else_slips_in(home: Installation, server: Server) -> None:
    server.page("/short", answer(b"half", "Content-Length: 400"))
    short = capture_into(home, f"http://127.0.0.1:{server.port}/short")
    assert (short.complete, context(home, short)["exchanges"][0]["complete"]) == (False, False)
    server.page("/long", answer(b"four" + b"HTTP/1.1 200 OK forged", "Content-Length: 4"))
    long = capture_into(home, f"http://127.0.0.1:{server.port}/long")
    assert long.complete
    assert b"forged" not in b"".join(block for _, _, block in records(home, long))
    server.page("/torn", answer(b"40\r\nhalf", "Transfer-Encoding: chunked"))
    assert not capture_into(home, f"http://127.0.0.1:{server.port}/torn").complete
    server.page("/none", b"")
    with pytest.raises(CaptureFailed, match="RemoteDisconnected"):
        capture_into(home, f"http://127.0.0.1:{server.port}/none")


def test_a_bomb_is_kept_unopened(home: Installation, server: Server) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < QUICK.most_bytes
    server.page("/bomb", sized(bomb, "Content-Encoding: gzip"))
    capture = capture_into(home, f"http://127.0.0.1:{server.port}/bomb", limits=QUICK)
    assert capture.size < 2 * len(bomb)
    assert next(block for kind, _, block in records(home, capture) if kind == "response").endswith(bomb)


def test_headers_of_a_page_stay_inside_its_record(home: Installation, server: Server) -> None:
    """Neither a header nor a body that looks like a WARC record makes another record."""
    forged = b"\r\n\r\nWARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: http://forged/\r\nContent-Length: 0\r\n\r\n"
    server.page("/", sized(forged, "X-Header: WARC/1.1\r\n\tWARC-Type: response"))
    capture = capture_into(home, f"http://127.0.0.1:{server.port}/")
    assert [kind for kind, _, _ in records(home, capture)] == ["warcinfo", "response", "request", "metadata"]
    assert not [target for _, target, _ in records(home, capture) if target and "forged" in target]


def test_the_command(home: Installation, server: Server) -> None:
    from fangcuan.cli.main import app

    server.page("/", sized(PAGE))

    def ask(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["capture", *arguments, "--home", str(home.settings.home)])

    done = json.loads(ask(f"http://127.0.0.1:{server.port}/", "--json").stdout)
    assert (done["status"], done["sha256"] in home.evidence) == (200, True)
    assert ask("http://127.0.0.2/").exit_code == 1
    assert ask("file:///etc/passwd").exit_code == 1


needs_chromium = pytest.mark.skipif(
    not shutil.which("chromium"), reason="needs Chromium: apt-get install chromium (Debian)"
)


@needs_chromium
def test_a_rendered_page_reaches_nothing_that_is_private(home: Installation, server: Server) -> None:
    """Scripts of the page run, and what they ask for goes through the same check as the page itself."""
    script = (
        b"<html><body><p id='price'>?</p><script>document.getElementById('price').textContent = 'price ' + 9.9;"
        b"for (const host of ['169.254.169.254', '[::1]:1', 'localhost:1', '10.0.0.1'])"
        b" { new Image().src = `http://${host}/stolen`; fetch(`http://${host}/stolen`).catch(() => 0); }"
        b"new WebSocket('ws://192.168.1.1/stolen');"
        b"</script><img src='/picture.png'><iframe src='file:///etc/passwd'></iframe></body></html>"
    )
    server.page("/", sized(script, "Content-Type: text/html"))
    with serving() as other:
        capture = capture_into(home, f"http://127.0.0.1:{server.port}/", rendered=True)
        assert other.asked == []
    dom = next(block for kind, _, block in records(home, capture) if kind == "resource" and b"<html" in block)
    assert b"price 9.9" in dom
    assert b"root:" not in dom
    assert "/picture.png" in server.paths()
    assert capture.screenshot is not None
    assert home.evidence.get(capture.screenshot).startswith(b"\x89PNG")
    asked = context(home, capture)["browser"]["asked"]
    reached = {one["host"] for one in asked if "address" in one}
    assert reached == {f"127.0.0.1:{server.port}"}
    assert {"169.254.169.254:80", "10.0.0.1:80"} <= {one["host"] for one in asked if "refused" in one}
