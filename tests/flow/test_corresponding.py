"""Letters and answers from the command line: what a partner is sent, what he sees, what he can send, and nothing more."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "cases"))
from casework_samples import file_night, make_finding

from fangcuan.cases.history.verification import verify
from fangcuan.cases.policies import versions as policies
from fangcuan.cli.main import app
from fangcuan.flow import corresponding
from fangcuan.flow.accounts import demo_accounts
from fangcuan.flow.installation import Installation, initialise
from fangcuan.flow.policies import shipped_rows

CASE = "FC-2026-000001"
Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    made = initialise(tmp_path / "home")
    demo_accounts(made)
    policies.approve_shipped(made.engine, "legal_gate", shipped_rows("legal_gate"))
    file_night(made.engine, made.evidence.folder, [make_finding("P1"), make_finding("P2")])
    return made


@pytest.fixture
def fangcuan(place: Installation, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("FANGCUAN_USER", "FANGCUAN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FANGCUAN_HOME", str(place.settings.home))

    def run(*arguments: str) -> tuple[int, Any]:
        done = CliRunner().invoke(app, list(arguments))
        if done.exit_code and "--json" in arguments:
            raise AssertionError(done.output)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, json.loads(done.stdout) if "--json" in arguments else done.output

    return run


def asked(fangcuan: Run, language: str = "zh") -> dict[str, Any]:
    code, said = fangcuan("cases", "ask", CASE, "--due", due(), "--language", language, "--as", "ling", "--json")
    assert code == 0
    return dict(said)


def due() -> str:
    import datetime as dt

    return (dt.date.today() + dt.timedelta(days=14)).isoformat()


def test_a_letter_an_answer_and_what_the_partner_sees(place: Installation, fangcuan: Run, tmp_path: Path) -> None:
    sent = asked(fangcuan)
    assert "致 P1" in sent["text"]
    assert "P2" not in sent["text"], "a letter is about nobody else"
    assert sent["due"] in sent["text"]
    paper = tmp_path / "permit.pdf"
    paper.write_bytes(b"%PDF-1.7 permit")
    code, told = fangcuan(
        "answers", "give", sent["link"], "--reason", "approved_transfer", "--text", "许可证 17 号", "--file", str(paper)
    )
    assert (code, told.strip()) == (0, f"{CASE}: received")
    code, seen = fangcuan("answers", "show", sent["link"], "--json")
    assert set(seen) == {"number", "text", "due_at", "expires_at", "reasons", "answers"}
    assert [one["text"] for one in seen["answers"]] == ["许可证 17 号"]
    assert place.evidence.get(seen["answers"][0]["files"][0]["sha256"]) == b"%PDF-1.7 permit"
    assert "许可证 17 号" in fangcuan("cases", "show", CASE)[1]
    assert sent["link"].partition("_")[2] not in json.dumps(fangcuan("cases", "show", CASE, "--json")[1])
    assert verify(place.engine).exit_code == 0


def test_a_letter_tells_what_was_decided(place: Installation, fangcuan: Run) -> None:
    assert fangcuan("cases", "dismiss", CASE, "--reason", "low_impact", "--as", "ling")[0] == 0
    code, said = fangcuan("cases", "letter", CASE, "--language", "en", "--as", "wang", "--json")
    assert code == 0
    assert "too small to pursue" in said["text"]
    assert "within 60 days" in said["text"]
    assert "decided by one person" in said["text"]
    other = "FC-2026-000002"
    assert fangcuan("cases", "triage", other, "--as", "ling")[0] == 0
    reason = ("--reason", "authorised", "--note", "permit 17")
    assert fangcuan("cases", "propose", other, "dismiss", *reason, "--as", "ling")[0] == 0
    assert fangcuan("cases", "approve", other, "--as", "wang")[0] == 0
    text = fangcuan("cases", "letter", other, "--language", "zh", "--as", "wang", "--json")[1]["text"]
    assert "不是同一人" in text
    assert "情况属经批准" in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.exe", b"MZ\x90", "run.exe is none of JPEG, Office document, PDF, PNG"),
        ("page.pdf", b"<html>", "page.pdf is none of"),
        ("large.pdf", b"%PDF-" + b"x" * corresponding.LARGEST, "larger than 20 MiB"),
        (None, b"", "cannot be read"),
    ],
)
def test_what_a_partner_cannot_send(
    place: Installation, fangcuan: Run, tmp_path: Path, name: str | None, content: bytes, message: str
) -> None:
    sent = asked(fangcuan)
    before = list(place.evidence.digests())
    path = tmp_path / (name or "missing.pdf")
    if name:
        path.write_bytes(content)
    code, said = fangcuan("answers", "give", sent["link"], "--reason", "other", "--text", "x", "--file", str(path))
    assert (code, message in said.replace("\n", " ")) == (1, True), said
    assert list(place.evidence.digests()) == before


def test_without_a_link_nothing_is_stored(place: Installation, fangcuan: Run, tmp_path: Path) -> None:
    asked(fangcuan)
    before = list(place.evidence.digests())
    paper = tmp_path / "permit.pdf"
    paper.write_bytes(b"%PDF-1.7 permit")
    for command in (("give", "x_y", "--reason", "other", "--text", "x", "--file", str(paper)), ("show", "x_y")):
        code, said = fangcuan("answers", *command)
        assert code == 1
        assert "not valid" in said
    assert list(place.evidence.digests()) == before


def test_a_scrub_misses_what_was_lost(place: Installation, fangcuan: Run, tmp_path: Path) -> None:
    sent = asked(fangcuan)
    paper = tmp_path / "permit.pdf"
    paper.write_bytes(b"%PDF-1.7 permit")
    photo = tmp_path / "shelf.jpg"
    photo.write_bytes(b"\xff\xd8\xff shelf")
    assert fangcuan("answers", "give", sent["link"], "--reason", "other", "--text", "x", "--file", str(paper))[0] == 0
    assert fangcuan("cases", "attach", CASE, str(photo), "--kind", "site_photo", "--as", "ling")[0] == 0
    assert fangcuan("audit", "scrub", "--json") == (0, {"items": []})
    lost = list(place.evidence.digests())
    assert len(lost) == 5, "two findings, a letter, a paper, a photo"
    for digest in lost:
        place.evidence.path(digest).unlink()
    code, said = fangcuan("audit", "scrub")
    assert code == 1
    assert all(f"evidence {digest} is missing" in said for digest in lost)
