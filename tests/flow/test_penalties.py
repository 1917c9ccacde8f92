"""Penalties from the command line: codes counted from the evidence, letters with every figure, appeals by link, who lost."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "cases"))
import orders
from casework_samples import file_night, make_finding

from fangcuan.cases.history.verification import verify
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people import grants
from fangcuan.cases.people.access import Actor
from fangcuan.cli.main import app
from fangcuan.core.canonical import sha256_hex
from fangcuan.core.finding import Finding
from fangcuan.flow.accounts import DEMO
from fangcuan.flow.installation import Installation, initialise

CASE = "FC-2026-000001"
Run = Callable[..., tuple[int, Any]]
#: What is read outside, by whom; the last three are deliveries, the partner's own reading, and a carton nobody knows.
ROWS = [
    ("trace_events", {"observer": "consumer_scan", "epc": "c1", "sku": "SKU-1"}),
    ("trace_events", {"observer": "consumer_scan", "epc": "c1", "sku": "SKU-1"}),
    ("trace_events", {"observer": "test_purchase", "epc": "c2", "sku": "SKU-1"}),
    ("inspections", {"epc": "c3", "sku": "SKU-2"}),
    ("trace_events", {"observer": "warehouse", "epc": "c4", "sku": "SKU-1"}),
    ("trace_events", {"observer": "partner_scan", "epc": "c5", "sku": "SKU-1"}),
    ("inspections", {"epc": "c6", "sku": None}),
]


def seen(finding: Finding) -> Mapping[str, Any]:
    rows = [{"relation": name, "key": str(at), "digest": "a" * 64, "row": row} for at, (name, row) in enumerate(ROWS)]
    return {"rows": rows, "coverage": {"looked": True}}


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    """A confirmed diversion case of P1, whose goods were seen in the territory of P2 and P3."""
    made = initialise(tmp_path / "home")
    orders.staff(made.engine)
    for user_id, (name, role) in DEMO.items():
        people.add_user(made.engine, Actor("user:boss"), user_id, name=name)
        grants.grant_role(made.engine, Actor("user:boss"), user_id, role)
    later = {"month": 4, "sku": "SKU-1", "grouping": {"product_line": "A"}}
    file_night(made.engine, made.evidence.folder, [make_finding("P1"), make_finding("P1", **later)], evidence=seen)
    orders.bring(made.engine, CASE, "confirmed")
    orders.agree_ladder(made.engine, CASE)
    for partner in ("P1", "P2", "P3"):
        grant = {"grant_id": f"G-{partner}", "partner_id": partner, "region_code": "CN-31", "scope": "A"}
        orders.know(made.engine, "territories", **grant, exclusive=False)
    orders.know(made.engine, "products", sku="SKU-2", list_price=Decimal(90), currency="CNY", product_line="A")
    return made


@pytest.fixture
def fangcuan(place: Installation, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("FANGCUAN_USER", "FANGCUAN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FANGCUAN_HOME", str(place.settings.home))

    def run(*arguments: str) -> tuple[int, Any]:
        done = CliRunner().invoke(app, list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        if "--json" in arguments and done.exit_code == 0:
            return 0, json.loads(done.stdout)
        return done.exit_code, done.output

    return run


def test_codes_are_counted_once_however_often_they_were_seen(fangcuan: Run) -> None:
    code, found = fangcuan("penalties", "compute", CASE, "--json")
    assert code == 0
    assert [(one["sku"], one["units"], one["codes"]) for one in found["counted"]] == [
        ("SKU-1", "2", sha256_hex(b"c1\nc2")),
        ("SKU-2", "1", sha256_hex(b"c3")),
    ]
    assert found["claimed"] == "30"
    assert "(each code once)" in " ".join(found["words"]["en"])
    assert "每" not in " ".join(found["words"]["en"])
    said = fangcuan("penalties", "compute", CASE, "--language", "zh")[1]
    assert "违约金：3 件 × 10 CNY = 30 CNY，向下取整到最小货币单位，上限 100 CNY，计 30 CNY" in said.replace("\n", "")


def test_a_penalty_goes_out_is_appealed_reduced_and_settled(place: Installation, fangcuan: Run, tmp_path: Path) -> None:
    assert fangcuan("penalties", "propose", CASE, "--note", "as agreed", "--as", "ling")[0] == 0
    assert fangcuan("cases", "approve", CASE, "--as", "wang")[0] == 0
    code, sent = fangcuan("penalties", "issue", CASE, "--language", "en", "--as", "wang", "--json")
    assert code == 0
    for expected in ("3 units × 10 CNY = 30 CNY, rounded down, at most 100 CNY: 30 CNY", "“t1” (C-P1)", "a warning",
                     sent["appeal_until"], "the first within 365 days", "3 units in CN-31 (each code once)"):  # fmt: skip
        assert expected in sent["text"].replace("\n", " "), expected
    assert "P2" not in sent["text"], "a letter is about nobody else"
    _, view = fangcuan("answers", "show", sent["link"], "--json")
    assert "disproportionate" in view["reasons"]
    paper = tmp_path / "count.pdf"
    paper.write_bytes(b"%PDF-1.7 count")
    answer = ("answers", "give", sent["link"], "--reason", "wrong_count", "--text", "两件", "--file", str(paper))
    assert fangcuan(*answer)[0] == 0
    assert [one["text"] for one in fangcuan("answers", "show", sent["link"], "--json")[1]["answers"]] == ["两件"]
    assert "answers give" not in fangcuan("penalties", "show", CASE)[1]
    reduce = (
        "cases",
        "propose",
        CASE,
        "reduce",
        "--reason",
        "appeal",
        "--amount",
        "20",
        "--note",
        "two",
        "--as",
        "ling",
    )
    assert fangcuan(*reduce)[0] == 0
    code, said = fangcuan("cases", "approve", CASE, "--as", "wang")
    assert (code, "somebody else has to review it" in said) == (1, True), "wang agreed to the penalty"
    assert fangcuan("cases", "approve", CASE, "--as", "zhao")[0] == 0
    told = fangcuan("penalties", "tell", CASE, "--language", "en", "--as", "zhao")[1].replace("\n", " ")
    assert "it was 30 CNY; appeals, all of them considered: 1" in told
    assert "Now due: 20 CNY" in told
    assert fangcuan("penalties", "settle", CASE, "--amount", "20", "--note", "received", "--as", "wang")[0] == 0
    shown = fangcuan("penalties", "show", CASE)[1]
    assert "claimed 30 CNY, due 20 CNY, settled 20 CNY" in shown
    assert "appeal 1, wrong_count (1 files): 两件" in shown
    assert "claimed 30, due 20, settled 20" in fangcuan("cases", "show", CASE)[1]
    assert fangcuan("cases", "close", CASE, "--outcome", "penalised", "--as", "wang")[0] == 0
    assert verify(place.engine).exit_code == 0


def test_an_appeal_by_post_is_taken_down(place: Installation, fangcuan: Run, tmp_path: Path) -> None:
    orders.penalise(place.engine, CASE, "issued")
    letter = tmp_path / "letter.exe"
    letter.write_bytes(b"MZ")
    appeal = (
        "penalties",
        "appeal",
        CASE,
        "--reason",
        "other",
        "--text",
        "by post",
        "--as",
        "ling",
        "--file",
        str(letter),
    )
    code, said = fangcuan(*appeal)
    assert (code, "is none of" in said) == (1, True)
    letter.write_bytes(b"%PDF-1.7 letter")
    assert fangcuan(*appeal)[0] == 0
    (found,) = fangcuan("penalties", "show", CASE, "--json")[1]["items"]
    assert found["label"] == {"zh": "申诉中", "en": "Under appeal"}
    assert found["appeals"][0]["appealed_by"] == "user:ling"


def test_who_lost(fangcuan: Run) -> None:
    code, found = fangcuan("penalties", "victims", CASE, "--json")
    assert code == 0
    # Two hold it beside the accused, who is no victim of his own; SKU-2 has no margin on record.
    assert found["totals"] == [
        {"partner_id": name, "units": "1.5", "margin": {"CNY": "12.5"}, "units_without_margin": "0.5"}
        for name in ("P2", "P3")
    ]
    assert {row["shared_by"] for row in found["rows"]} == {2}
    assert found["nobodys_units"] == "0"
    said = fangcuan("penalties", "victims", CASE)[1]
    assert "P2: 1.5 units, margin 12.5 CNY (of 0.5 units unknown)" in said


def test_evidence_that_is_lost_is_not_counted_around(place: Installation, fangcuan: Run) -> None:
    for path in place.evidence.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    code, said = fangcuan("penalties", "propose", CASE, "--note", "n", "--as", "ling")
    assert (code, "units cannot be counted" in said) == (1, True)


def test_what_is_not_there_is_said(fangcuan: Run) -> None:
    for arguments, expected in (
        (("penalties", "issue", CASE, "--as", "wang"), "has no penalty"),
        (("penalties", "show", "FC-2026-000099"), "no such case"),
        (("penalties", "victims", "FC-2026-000099"), "no such case"),
    ):
        code, said = fangcuan(*arguments)
        assert (code, expected in said) == (1, True), said
    assert "has no penalty" in fangcuan("penalties", "show", CASE)[1]
