"""The auditor's desk from the command line: draw, draw again, review, see how far one is, compare equal cases."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "cases"))
import orders
from casework_samples import file_night, make_finding

from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.accounts import add_user
from fangcuan.cases.people.grants import grant_role
from fangcuan.cases.views import list_cases
from fangcuan.cli.main import app
from fangcuan.flow.accounts import demo_accounts
from fangcuan.flow.installation import Installation, initialise
from fangcuan.store.database import write
from fangcuan.store.masters import MASTER_TABLES

ADMIN = Actor("user:admin")
LING, WANG = Actor("user:ling"), Actor("user:wang")
Run = Callable[..., tuple[int, Any]]
DEALERS = 16


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Sixteen dealers with equal facts: those of tier 1 are let off, those of tier 2 are not; one more nobody decided about."""
    for name in ("FANGCUAN_USER", "FANGCUAN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    made = initialise(tmp_path / "home")
    monkeypatch.setenv("FANGCUAN_HOME", str(made.settings.home))
    demo_accounts(made)
    rows = [
        {
            "partner_id": f"P{n:02d}",
            "name": f"P{n:02d}",
            "kind": "dealer",
            "status": "active",
            "tier": "1" if n < DEALERS / 2 else "2",
            "region_code": None,
            "business_key": f"P{n:02d}|",
            "row_digest": f"partner {n}",
            "source_id": "t",
            "receipt_id": "t",
            "recorded_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        }
        for n in range(DEALERS)
    ]
    with write(made.engine) as connection:
        connection.execute(MASTER_TABLES["partners"].insert(), rows)
    file_night(made.engine, Path(made.settings.evidence_path), [make_finding(f"P{n:02d}") for n in range(DEALERS + 1)])
    for one in list_cases(made.engine):
        decide(made, one["number"], one["subject"]["id"])
    return made


def decide(made: Installation, number: str, subject: str) -> None:
    if subject == f"P{DEALERS:02d}":
        return
    orders.give(made.engine, "triage", number, LING)
    said: dict[str, Any] = {"kind": "dismiss", "reason": "authorised", "note": "an old friend"}
    if subject >= f"P{DEALERS // 2:02d}":
        receipt = {"kind": "purchase_receipt", "name": "receipt.jpg", "sha256": "a" * 64}
        orders.give(made.engine, "attach", number, LING, **receipt)
        said = {"kind": "confirm", "outcome": "wrong_region", "class": "malicious", "note": "two cartons whole"}
        said["checklist"] = ["permits", "returns_and_transfers", "receiver_or_shop_asked", "buyer_travels"]
    orders.give(made.engine, "propose", number, LING, **said)
    orders.give(made.engine, "approve", number, WANG)


@pytest.fixture
def fangcuan(place: Installation) -> Run:
    def run(*arguments: str) -> tuple[int, Any]:
        done = CliRunner().invoke(app, list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, json.loads(done.stdout) if "--json" in arguments else " ".join(done.output.split())

    return run


def test_a_sample_from_draw_to_estimate(place: Installation, fangcuan: Run) -> None:
    code, said = fangcuan("audit", "sample", "--n", "4", "--seed", "lottery 8812", "--as", "qian")
    assert code == 0
    assert "sample 1: 4 of 16 cases, as of event" in said
    (drawn,) = fangcuan("audit", "samples", "--json")[1]["items"]
    assert drawn["drawn_by"] == "user:qian"
    assert drawn["filters"] == {"decided": True, "zone": "Asia/Shanghai"}
    assert "lottery 8812" in fangcuan("audit", "samples")[1]
    assert fangcuan("audit", "sample", "--again", "1") == (0, "sample 1: same")
    first, second, third, fourth = drawn["numbers"]
    for number in (first, second):
        code, said = fangcuan("audit", "review", number, "--result", "agrees", "--sample", "1", "--as", "qian")
        assert (code, said) == (0, f"{number}: review 1, agrees, of version 4")
    disagrees = ["--result", "disagrees", "--reason", "unlike_others", "--reason", "wrong_outcome"]
    note = ["--note", "equal to the case before it", "--sample", "1", "--as", "qian"]
    assert fangcuan("audit", "review", third, *disagrees, *note, "--version", "4")[0] == 0
    code, said = fangcuan("audit", "reviews", "--sample", "1")
    assert "3 of 4 reviewed: 2 agree, 1 disagree, 0 cannot be told" in said
    assert "among all 16 cases: 33.3 %, between 6.25 % and 87.5 % (95 % interval)" in said
    code, found = fangcuan("audit", "reviews", "--sample", "1", "--json")
    assert (found["left"], [one["number"] for one in found["items"]]) == (1, drawn["numbers"])
    assert "unlike_others, wrong_outcome" in fangcuan("audit", "reviews")[1]
    assert "audit review 1 for sample 1 by user:qian: disagrees" in fangcuan("cases", "show", third)[1]
    unclear = ["--result", "cannot_tell", "--reason", "evidence_missing", "--note", "gone", "--sample", "1"]
    assert fangcuan("audit", "review", fourth, *unclear, "--as", "qian", "--json")[1]["review"] == 1
    assert "were those wrong of which one cannot tell, up to" in fangcuan("audit", "reviews", "--sample", "1")[1]
    assert fangcuan("audit", "verify")[0] == 0


def test_conditions_and_what_is_refused(place: Installation, fangcuan: Run) -> None:
    draw = ["audit", "sample", "--n", "50", "--seed", "s", "--as", "qian"]
    assert fangcuan(*draw, "--all", "--json")[1]["population"] == DEALERS + 1
    assert fangcuan(*draw, "--from", "2026-01-01", "--to", "2026-01-31") == (
        1,
        "error there is no such case to draw from; ask for fewer conditions, or for --all cases",
    )
    for wrong in (
        ["--n", "5"],
        ["--seed", "s"],
        [],
        ["--again", "1", "--n", "5"],
        ["--again", "1", "--n", "5", "--seed", "s"],
    ):
        assert fangcuan("audit", "sample", *wrong)[0] == 2, wrong
    assert "user:wang is not auditor" in fangcuan("audit", "sample", "--n", "5", "--seed", "s", "--as", "wang")[1]
    assert fangcuan("audit", "sample", "--again", "9")[0] == 1
    number = list_cases(place.engine)[0]["number"]
    code, said = fangcuan("audit", "review", number, "--result", "agrees", "--as", "wang")
    assert (code, "user:wang is not auditor" in said) == (1, True)
    code, said = fangcuan("audit", "review", number, "--result", "disagrees", "--reason", "mood", "--as", "qian")
    assert (code, "whoever says disagrees gives of wrong_outcome" in said) == (1, True)
    code, said = fangcuan("audit", "review", number, "--result", "agrees", "--version", "1", "--as", "qian")
    assert (code, "is at version 4, not 1" in said) == (1, True)
    assert {one["command"] for one in fangcuan("users", "refusals", "--json")[1]["items"]} == {"draw_sample", "review"}


def test_an_auditor_reviews_where_his_role_reaches(place: Installation, fangcuan: Run) -> None:
    add_user(place.engine, ADMIN, "local", name="Local")
    grant_role(place.engine, ADMIN, "local", "auditor", region="41")
    number = list_cases(place.engine)[0]["number"]
    code, said = fangcuan("audit", "review", number, "--result", "agrees", "--as", "local")
    assert (code, "is auditor only for region 41" in said) == (1, True)


def test_a_different_sample_ends_with_1(place: Installation, fangcuan: Run) -> None:
    from tampering import tamper

    numbers = fangcuan("audit", "sample", "--n", "2", "--seed", "s", "--as", "qian", "--json")[1]["numbers"]
    tamper(place.engine, "update audit_sample set numbers = '[\"FC-2026-000099\"]'")
    code, said = fangcuan("audit", "sample", "--again", "1")
    assert code == 1
    assert "DIFFERENT" in said
    assert f"extra: {', '.join(sorted(numbers))}" in said
    assert fangcuan("audit", "sample", "--again", "1", "--json")[1]["missing"] == ["FC-2026-000099"]
    assert fangcuan("audit", "verify")[0] == 4, "the audit of the history sees it as well"


def test_equal_cases_that_were_treated_unequally_are_told(place: Installation, fangcuan: Run) -> None:
    code, found = fangcuan("audit", "consistency", "--json")
    assert code == 0
    assert (found["cases"], found["strata"], found["left_out"]) == (DEALERS, 1, {})
    assert [(one["group"], one["observed"], one["verdict"]) for one in found["items"]] == [
        ("1", 0, "differs"),
        ("2", DEALERS // 2, "differs"),
    ]
    code, said = fangcuan("audit", "consistency", "--by", "tier")
    assert "-100 -100 to" in said
    assert "TREATED OTHERWISE" in said
    assert "16 cases in 1 strata of equal facts" in said
    code, said = fangcuan("audit", "consistency", "--by", "handler")
    assert "too few cases" in said
    assert "1 of 1 groups have fewer than 5 cases with equals elsewhere" in said
    code, said = fangcuan("audit", "consistency", "--by", "region")
    assert "nothing to compare" in said
    assert "left out: 16 no region of level province known" in said
    assert "8 no sanction on record" in fangcuan("audit", "consistency", "--of", "sanction")[1]
    assert fangcuan("audit", "consistency", "--to", "2026-01-31", "--json")[1]["items"] == []
    assert fangcuan("audit", "consistency", "--by", "colour")[0] == 2
