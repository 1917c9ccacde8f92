"""Timestamps of a local authority: kept whole, checked by one of two programs, refused when anything about them is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority, running

from fangcuan.cases.history import timestamps
from fangcuan.cases.history.timestamps import TimestampRefused, ask, check

DATA = b"example.com/house\n7\nroot\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with running(tmp_path_factory.mktemp("authority")) as authority:
        yield authority


@pytest.fixture
def authority(server: Authority) -> Authority:
    server.unsorted, server.answer, server.status = False, None, 200
    return server


@pytest.mark.parametrize(("unsorted", "by"), [(False, "rfc3161-client"), (True, "openssl")])
def test_an_answer_is_checked_by_either_program(authority: Authority, unsorted: bool, by: str) -> None:
    authority.unsorted = unsorted
    answer = ask(authority.url, DATA, authority.roots)
    stamp = check(answer, DATA, authority.roots)
    assert (stamp.trusted, stamp.by) == (True, by)
    assert stamp.time.startswith("20")
    assert stamp.time.endswith("+00:00")
    loose = check(answer, DATA, None)
    assert (loose.trusted, loose.by, loose.time) == (False, "digest", stamp.time)
    for roots in (None, authority.roots):
        with pytest.raises(TimestampRefused):
            check(answer, DATA + b"x", roots)


@pytest.mark.parametrize("unsorted", [False, True])
def test_another_root_trusts_nothing(authority: Authority, unsorted: bool, tmp_path: Path) -> None:
    authority.unsorted = unsorted
    answer = ask(authority.url, DATA, authority.roots)
    with running(tmp_path / "other") as other, pytest.raises(TimestampRefused):
        check(answer, DATA, other.roots)


@pytest.mark.parametrize("unsorted", [False, True])
def test_flipped_bits_are_refused(authority: Authority, unsorted: bool) -> None:
    """Each byte in the part that is signed and in the signature; the frame around them may be spelled in several ways."""
    authority.unsorted = unsorted
    answer = ask(authority.url, DATA, authority.roots)
    from hashlib import sha256

    start = answer.index(sha256(DATA).digest())
    places = [*range(start, start + 32, 7), len(answer) - 1, len(answer) - 100]
    for at in places:
        broken = bytearray(answer)
        broken[at] ^= 1
        with pytest.raises(TimestampRefused):
            check(bytes(broken), DATA, authority.roots)


def test_an_answer_to_another_request_is_refused(authority: Authority) -> None:
    authority.answer = ask(authority.url, DATA, authority.roots)
    with pytest.raises(TimestampRefused, match="another request"):
        ask(authority.url, DATA, authority.roots)
    with pytest.raises(TimestampRefused, match="other bytes"):
        ask(authority.url, b"other", authority.roots)


def test_what_is_no_timestamp_is_refused(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in (b"", b"<html>", b"\x30\x80" * 50):
        authority.answer = answer
        with pytest.raises(TimestampRefused, match="not a timestamp"):
            ask(authority.url, DATA, authority.roots)
    authority.answer = b"x" * (timestamps.MOST_BYTES + 1)
    with pytest.raises(TimestampRefused, match="more than a timestamp"):
        ask(authority.url, DATA, authority.roots)
    authority.status = 503
    with pytest.raises(TimestampRefused, match="503"):
        ask(authority.url, DATA, authority.roots)
    with pytest.raises(TimestampRefused, match="cannot be asked"):
        ask("http://127.0.0.1:1/", DATA, authority.roots)
    monkeypatch.setattr(timestamps.shutil, "which", lambda _: None)
    with pytest.raises(TimestampRefused, match="no openssl"):
        check(b"x", DATA, authority.roots)
