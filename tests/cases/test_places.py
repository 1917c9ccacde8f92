"""Places a checkpoint goes to: it arrives whole, is read back, and nothing there is ever replaced."""

from __future__ import annotations

import email
import email.policy
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from fangcuan.cases.history.places import Mailer, MailPlace, Place, PlaceConflict, PlaceFailed, file_name, open_place

NOTE, TOKEN = "— 检查点\n".encode(), b"\x30\x00\xff"
NAME = file_name("example.com/house", 42)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def git_with_remote(tmp_path: Path) -> str:
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    git(tmp_path, "clone", "--quiet", "remote.git", "tree")
    git(tmp_path / "tree", "config", "push.default", "current")
    return f"git+file://{tmp_path / 'tree'}"


PLACES: dict[str, Callable[[Path], str]] = {
    "folder": lambda tmp_path: str(tmp_path / "deep" / "drop"),
    "file url": lambda tmp_path: f"file://{tmp_path}/drop",
    "git": git_with_remote,
    "bucket": lambda tmp_path: f"memory://anchors-{tmp_path.name}/prefix",
    "local bucket": lambda tmp_path: f"local://{tmp_path}/bucket",
}


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return open_place(PLACES[request.param](tmp_path), Mailer())


def test_a_checkpoint_arrives_and_is_read_back(place: Place) -> None:
    receipt = place.put(NAME, {".checkpoint": NOTE, ".tsr": TOKEN})
    assert receipt
    assert place.read() == {f"{NAME}.checkpoint": NOTE}
    assert place.put(NAME, {".checkpoint": NOTE, ".tsr": TOKEN}) == receipt, "a second time is the same"
    place.put(file_name("example.com/house", 43), {".checkpoint": b"later"})
    assert list(place.read() or {}) == sorted([f"{NAME}.checkpoint", f"{NAME[:-1]}3.checkpoint"])


def test_nothing_is_replaced(place: Place) -> None:
    place.put(NAME, {".checkpoint": NOTE})
    with pytest.raises(PlaceConflict, match="other content"):
        place.put(NAME, {".checkpoint": b"another history"})
    assert place.read() == {f"{NAME}.checkpoint": NOTE}


def test_git_commits_are_pushed_and_what_is_not_committed_is_no_anchor(tmp_path: Path) -> None:
    place = open_place(git_with_remote(tmp_path), Mailer())
    commit = place.put(NAME, {".checkpoint": NOTE})
    assert git(tmp_path / "remote.git", "rev-parse", "HEAD") == commit
    tree = tmp_path / "tree"
    (tree / f"{NAME}.checkpoint").chmod(0o644)
    (tree / f"{NAME}.checkpoint").write_bytes(b"edited, not committed")
    assert place.read() == {f"{NAME}.checkpoint": NOTE}
    (tmp_path / "remote.git").rename(tmp_path / "away.git")
    with pytest.raises(PlaceFailed, match="git push"):
        place.put(file_name("o", 43), {".checkpoint": b"x"})
    with pytest.raises(PlaceFailed, match="not a git working tree"):
        open_place(f"git+file://{tmp_path}", Mailer()).put(NAME, {".checkpoint": NOTE})


def test_files_are_read_only_and_half_written_ones_are_none(tmp_path: Path) -> None:
    place = open_place(str(tmp_path / "drop"), Mailer())
    path = Path(place.put(NAME, {".checkpoint": NOTE}))
    assert path.stat().st_mode & 0o777 == 0o444
    (tmp_path / "drop" / ".incoming-abc").write_bytes(b"half")
    assert place.read() == {path.name: NOTE}
    with pytest.raises(PlaceFailed, match="no such folder"):
        open_place(str(tmp_path / "gone"), Mailer()).read()
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceFailed):
        open_place(str(tmp_path / "file" / "below"), Mailer()).put(NAME, {".checkpoint": NOTE})


class Sink:
    """What a mail server was given."""

    def __init__(self) -> None:
        self.received: list[Any] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.received.append(envelope)
        return "250 taken"


def test_a_mail_carries_checkpoint_and_token() -> None:
    sink = Sink()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(sink, hostname="127.0.0.1", port=port, ready_timeout=30)
    controller.start()
    try:
        mailer = Mailer(f"smtp://127.0.0.1:{port}", "casebook@example.com")
        place = open_place("mailto:auditor@example.org", mailer)
        receipt = place.put(NAME, {".checkpoint": NOTE, ".tsr": TOKEN})
    finally:
        controller.stop()
    (envelope,) = sink.received
    assert (envelope.mail_from, envelope.rcpt_tos) == ("casebook@example.com", ["auditor@example.org"])
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    attached = {part.get_filename(): part.get_content() for part in message.iter_attachments()}
    assert attached == {f"{NAME}.checkpoint": NOTE, f"{NAME}.tsr": TOKEN}
    assert message["Message-ID"] == receipt
    assert "audit verify --checkpoint" in message.get_body().get_content()  # type: ignore[union-attr]
    assert place.read() is None
    with pytest.raises(PlaceFailed, match="mail cannot be sent"):
        MailPlace("a@example.org", Mailer("smtp://127.0.0.1:1", "b@example.com")).put(NAME, {".checkpoint": NOTE})


@pytest.mark.parametrize(
    ("text", "said"),
    [("s3://user:secret@bucket/x", "holds a password"), ("mailto:a@example.com", "needs audit_smtp")],
)
def test_places_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        open_place(text, Mailer())
    assert "secret" not in str(caught.value)


def test_an_unknown_kind_of_bucket_fails_when_it_is_used() -> None:
    with pytest.raises(PlaceFailed, match="nosuch"):
        open_place("nosuch://x/y", Mailer()).put(NAME, {".checkpoint": NOTE})
