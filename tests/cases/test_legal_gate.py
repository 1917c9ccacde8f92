"""The legal gate: what is not allowed is denied, per jurisdiction, family and action; who says so is named."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from casework_samples import FIRST, employ, file_night, make_finding, price_policy
from sqlalchemy import Connection, Engine, Row, select

from fangcuan.cases.history.verification import verify
from fangcuan.cases.people.access import Actor
from fangcuan.cases.policies import versions as policies
from fangcuan.cases.policies.jurisdictions import of_chain, of_code, table
from fangcuan.cases.policies.legal_gate import ACTIONS, Blocked, allowed_actions, jurisdiction_of, notice_for, permitted
from fangcuan.cases.policies.notices import Notice, notices
from fangcuan.cases.policies.rows import PolicyInvalid
from fangcuan.cases.policies.versions import in_force
from fangcuan.cases.refusals import GuardFailed, NotAuthorised
from fangcuan.core.finding import EvidenceRef
from fangcuan.core.masters import MASTERS
from fangcuan.flow.policies import shipped_rows
from fangcuan.store.casework import case_file
from fangcuan.store.database import read, write
from fangcuan.store.masters import MASTER_TABLES
from fangcuan.store.policies import JURISDICTION

ZHAO, QIAN = Actor("user:zhao", frozenset({"legal"})), Actor("user:qian", frozenset({"legal"}))
#: What the package allows beside observing; everything else is denied.
ALLOWED = {
    "CN": {
        "diversion": {"notify", "request_explanation", "propose_penalty"},
        "code_integrity": {"notify", "request_explanation", "propose_penalty"},
        "loading": {"notify", "request_explanation"},
        "price": set(),
    },
    "EU": {
        "diversion": {"request_explanation"},
        "code_integrity": {"notify", "request_explanation"},
        "loading": {"request_explanation"},
        "price": set(),
    },
    "UK": {
        "diversion": {"request_explanation"},
        "code_integrity": {"notify", "request_explanation"},
        "loading": {"request_explanation"},
        "price": set(),
    },
    "US": {
        "diversion": {"notify", "request_explanation"},
        "code_integrity": {"notify", "request_explanation"},
        "loading": {"request_explanation"},
        "price": {"notify"},
    },
}
Ask = Callable[[Connection, Row[Any]], Any]


@pytest.fixture
def gated(engine: Engine) -> Engine:
    policies.approve_shipped(engine, "legal_gate", shipped_rows("legal_gate"))
    return engine


def region(engine: Engine, code: str, parent: str | None = None) -> None:
    row = {"region_code": code, "parent_code": parent, "level": "x", "business_key": code}
    with write(engine) as connection:
        digest = code.ljust(64, "0")
        table = MASTER_TABLES["regions"]
        connection.execute(table.insert().values(**row, row_digest=digest, source_id="s", receipt_id="r"))


def price_finding(subject: str, policy: str | None, **changes: Any) -> Any:
    evidence = (EvidenceRef("price_observations", f"o-{subject}", "a" * 64),)
    if policy is not None:
        evidence += (EvidenceRef("price_policies", f"{policy}|{FIRST}", "b" * 64),)
    return make_finding(subject, unit_id="price.below_floor", family="price", evidence=evidence, **changes)


def load_policy(engine: Engine, policy_id: str, jurisdiction: str) -> None:
    row = price_policy(policy_id=policy_id, jurisdiction=jurisdiction) | {"approved_by": "erp"}
    with write(engine) as connection:
        key = f"{policy_id}|{FIRST}"
        digest = f"{policy_id}{jurisdiction}".ljust(64, "0")
        insert = MASTER_TABLES["price_policies"].insert()
        connection.execute(insert.values(**row, row_digest=digest, business_key=key, source_id="erp", receipt_id="r"))


def asked(engine: Engine, ask: Ask, family: str | None = None, subject: str | None = None) -> Any:
    query = select(case_file)
    query = query.where(case_file.c.family == family) if family else query
    query = query.where(case_file.c.subject_id == subject) if subject else query
    with read(engine) as connection:
        return ask(connection, connection.execute(query).one())


def test_the_shipped_gate_covers_everything_and_allows_what_it_should(gated: Engine) -> None:
    with read(gated) as connection:
        rows = in_force(connection, "legal_gate", FIRST)
    relation = MASTERS["legal_gate"]
    families, actions = relation["family"].values, relation["action"].values
    found = {(row["jurisdiction"], row["family"], row["action"]): row["allowed"] for row in rows}
    assert found == {
        (where, family, action): action == "observe" or action in ALLOWED[where][family]
        for where in ALLOWED
        for family in families
        for action in actions
    }
    assert all(row["legal_basis"] and row["approved_by"] == "system:embedded-default" for row in rows)
    assert verify(gated).exit_code == 0


@pytest.mark.parametrize(
    ("code", "where"), [("CN-31", "CN"), ("310000", "CN"), ("FR-75", "EU"), ("GB-LND", "UK"), ("US-IA", "US")]
)
def test_each_case_is_asked_where_it_happened(gated: Engine, folder: Path, code: str, where: str) -> None:
    families = ("diversion", "loading", "code_integrity")
    found = [make_finding(f"P-{family}", family=family, region_code=code) for family in families]
    file_night(gated, folder, [*found, price_finding("P-price", None, region_code=code)])
    tried = 0
    for family, allowed in ALLOWED[where].items():
        assert asked(gated, lambda c, row: jurisdiction_of(c, row, FIRST), family) == where
        for item in asked(gated, lambda c, row: allowed_actions(c, row, FIRST), family):
            action = item["action"]
            assert item["row"] == f"{where}|{family}|{action}"
            if action == "observe" or action in allowed:
                row = asked(gated, lambda c, row, action=action: permitted(c, row, action, FIRST), family)
                assert (row.allowed, item["allowed"], row.name) == (True, True, item["row"])
            else:
                with pytest.raises(Blocked) as caught:
                    asked(gated, lambda c, row, action=action: permitted(c, row, action, FIRST), family)
                assert not item["allowed"]
                said = str(caught.value)
                for part in (action, item["row"], item["legal_basis"], "system:embedded-default", "policies propose"):
                    assert part in said
                assert item["why"]["zh"].startswith("被法律关卡条目")
                assert isinstance(caught.value, GuardFailed)
            tried += 1
    assert tried == 16


def test_what_no_row_allows_is_denied(gated: Engine, folder: Path) -> None:
    file_night(gated, folder, [make_finding("P1", region_code="JP-13"), make_finding("P2", region_code="R7")])
    for subject, where in (("P1", "JP"), ("P2", None)):
        items = {
            one["action"]: one for one in asked(gated, lambda c, row: allowed_actions(c, row, FIRST), None, subject)
        }
        assert set(items) == set(ACTIONS)
        assert [name for name, one in items.items() if one["allowed"]] == ["observe"]
        assert {one["jurisdiction"] for one in items.values()} == {where}
        with pytest.raises(Blocked) as caught:
            asked(gated, lambda c, row: permitted(c, row, "notify", FIRST), None, subject)
        assert caught.value.row is None
        assert ("no row of the legal gate allows JP" if where else "is not known") in str(caught.value)
    with pytest.raises(Blocked):
        asked(gated, lambda c, row: permitted(c, row, "burn", FIRST), None, "P1")


def test_without_a_gate_nothing_but_observing_is_allowed(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, [make_finding()])
    assert asked(engine, lambda c, row: permitted(c, row, "observe", FIRST)).allowed
    for action in ("notify", "request_explanation", "propose_penalty"):
        with pytest.raises(Blocked):
            asked(engine, lambda c, row, action=action: permitted(c, row, action, FIRST))


def test_a_price_case_falls_under_the_law_of_its_policy(gated: Engine, folder: Path) -> None:
    for policy_id, where in (("P-CN", "CN"), ("P-US", "US"), ("P-DE", "DE"), ("P-ODD", "China")):
        load_policy(gated, policy_id, where)
    subjects = {"A": "P-CN", "B": "P-US", "C": "P-DE", "D": "P-ODD", "E": "P-GONE"}
    # The goods were seen in China; the policies say something else.
    found = [price_finding(subject, policy, region_code="CN-31") for subject, policy in subjects.items()]
    found += [price_finding("F", "P-CN", sku="X"), price_finding("F", "P-US", sku="Y")]
    file_night(gated, folder, found)
    expected = {"A": "CN", "B": "US", "C": "EU", "D": None, "E": "CN", "F": None}
    for subject, where in expected.items():
        assert asked(gated, lambda c, row: jurisdiction_of(c, row, FIRST), None, subject) == where, subject


def test_regions_of_several_laws_are_no_law(gated: Engine, folder: Path) -> None:
    region(gated, "EAST", "CN")
    region(gated, "EAST-1", "EAST")
    found = [make_finding("P1", region_code="EAST-1"), make_finding("P2", region_code="CN-31", sku="X")]
    found += [make_finding("P2", region_code="FR", sku="Y"), make_finding("P3", region_code="FR", sku="X")]
    found += [make_finding("P3", region_code="DE-BE", sku="Y"), make_finding("P4", region_code="CN-31", sku="X")]
    found += [make_finding("P4", region_code="R7", sku="Y"), make_finding("P5", region_code="CN-31")]
    with write(gated) as connection:
        row = {"partner_id": "P5", "name": "P5", "kind": "dealer", "region_code": "FR", "business_key": "P5|"}
        table = MASTER_TABLES["partners"]
        connection.execute(table.insert().values(**row, row_digest="5" * 64, source_id="s", receipt_id="r"))
    file_night(gated, folder, found)
    # P5 sits in France and his goods turned up in China: two laws, so neither is taken for granted.
    for subject, where in {"P1": "CN", "P2": None, "P3": "EU", "P4": None, "P5": None}.items():
        assert asked(gated, lambda c, row: jurisdiction_of(c, row, FIRST), None, subject) == where, subject


def test_the_setting_speaks_where_nothing_else_does(gated: Engine, folder: Path) -> None:
    file_night(gated, folder, [make_finding("P1", region_code="R7"), make_finding("P2", region_code="FR")])
    for setting, first in (("CN", "CN"), ("DE", "EU"), ("", None)):
        engine = gated.execution_options(**{JURISDICTION: setting})
        assert asked(engine, lambda c, row: jurisdiction_of(c, row, FIRST), None, "P1") == first
        assert asked(engine, lambda c, row: jurisdiction_of(c, row, FIRST), None, "P2") == "EU"


def gate_row(action: str = "notify", allowed: bool = True, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"jurisdiction": "CN", "family": "price", "action": action, "allowed": allowed}
    return {
        **row,
        "template": None,
        "legal_basis": "counsel of 1 March",
        "valid_from": None,
        "valid_to": None,
        **changes,
    }


def test_the_gate_is_judged_by_the_day_and_as_known_then(gated: Engine, folder: Path) -> None:
    employ(gated, ZHAO, QIAN)
    file_night(gated, folder, [price_finding("P1", None)])
    before = dt.datetime.now(dt.UTC)
    number = policies.propose(gated, ZHAO, "legal_gate", [gate_row(valid_from=FIRST)])
    with pytest.raises(NotAuthorised, match="somebody else"):
        policies.approve(gated, ZHAO, number)
    policies.approve(gated, QIAN, number)
    row = asked(gated, lambda c, row: permitted(c, row, "notify", FIRST))
    assert (row.approved_by, row.legal_basis) == (QIAN.name, "counsel of 1 March")
    for day, known in ((FIRST - dt.timedelta(days=1), None), (FIRST, before)):
        with pytest.raises(Blocked) as caught:
            asked(gated, lambda c, row, day=day, known=known: permitted(c, row, "notify", day, known))
        assert caught.value.row is not None
        assert caught.value.row.approved_by == "system:embedded-default"
    # Ended, the older row holds again; and a row that nobody approved counts for nothing.
    ended = gate_row(valid_from=FIRST, valid_to=FIRST)
    policies.approve(gated, QIAN, policies.propose(gated, ZHAO, "legal_gate", [ended]))
    with write(gated) as connection:
        loaded = {**gate_row(valid_from=FIRST + dt.timedelta(days=1)), "approved_by": "me", "row_digest": "9" * 64}
        table = MASTER_TABLES["legal_gate"]
        connection.execute(
            table.insert().values(**loaded, business_key="CN|price|notify|x", source_id="erp", receipt_id="r")
        )
    with pytest.raises(Blocked):
        asked(gated, lambda c, row: permitted(c, row, "notify", FIRST + dt.timedelta(days=9)))
    assert verify(gated).exit_code == 4


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"jurisdiction": "DE"}, "jurisdiction"),
        ({"jurisdiction": "GB"}, "jurisdiction"),
        ({"jurisdiction": "China"}, "jurisdiction"),
        ({"jurisdiction": "US", "template": None}, "template"),
        ({"template": "my_own_words"}, "template"),
        ({"action": "threaten"}, "action"),
        ({"family": "weather"}, "family"),
        ({"legal_basis": None}, "legal_basis"),
    ],
)
def test_rows_the_gate_does_not_take(gated: Engine, changes: dict[str, Any], column: str) -> None:
    employ(gated, ZHAO)
    with pytest.raises(PolicyInvalid) as caught:
        policies.propose(gated, ZHAO, "legal_gate", [gate_row(**changes)])
    assert [one.column for one in caught.value.problems] == [column]


# -- notices -------------------------------------------------------------------------------------------------------------------


def test_a_notice_has_a_number_a_date_and_policies_and_nothing_else() -> None:
    shipped = notices()
    assert len(shipped) == 2
    assert {notice.jurisdiction for notice in shipped.values()} == {"US"}
    for notice in shipped.values():
        for dealer in ("FC-2026-000001", "FC-2026-000002"):
            text = notice.render(number=dealer, date=FIRST, policies=["MAP-1"])
            for language in ("en", "zh"):
                # Put back what varies and the words are the same for everyone.
                back = (
                    text[language]
                    .replace(dealer, "{number}")
                    .replace(str(FIRST), "{date}")
                    .replace("MAP-1", "{policy}")
                )
                assert back == getattr(notice.text, language)
                assert "{" not in text[language]


@pytest.mark.parametrize("name", ["reason", "promise", "number!r", "number:>9", "number.real", "0", ""])
def test_no_notice_has_a_place_for_other_words(name: str) -> None:
    good = next(iter(notices().values())).model_dump()
    for language in ("en", "zh"):
        with pytest.raises(ValueError, match="variable"):
            Notice.model_validate({**good, "text": {**good["text"], language: f"Dear {{{name}}}"}})
    with pytest.raises(ValueError):
        Notice.model_validate({**good, "remarks": "we will look away this time"})


@pytest.mark.parametrize(
    "values",
    [
        {"number": "FC-2026-000001\nWe will look away"},
        {"number": "call us"},
        {"policies": ["MAP-1. We will look away if prices rise"]},
        {"policies": ["MAP-1\n"]},
        {"policies": []},
    ],
)
def test_no_words_are_smuggled_in_by_a_value(values: dict[str, Any]) -> None:
    for notice in notices().values():
        with pytest.raises(ValueError):
            notice.render(**{"number": "FC-2026-000001", "date": FIRST, "policies": ["MAP-1"], **values})


def test_the_notice_of_a_case_is_that_of_the_gate(gated: Engine, folder: Path) -> None:
    load_policy(gated, "MAP-1", "US")
    load_policy(gated, "P-CN", "CN")
    file_night(gated, folder, [price_finding("A", "MAP-1"), price_finding("B", "P-CN"), make_finding("C")])
    found = asked(gated, lambda c, row: notice_for(c, row, FIRST), None, "A")
    assert found["template"] == "us_price_policy"
    assert f"Notice {found['number']}, {FIRST}" in found["text"]["en"]
    assert "MAP-1" in found["text"]["zh"]
    with pytest.raises(Blocked, match=r"CN\|price\|notify"):
        asked(gated, lambda c, row: notice_for(c, row, FIRST), None, "B")
    with pytest.raises(GuardFailed, match="prescribes no text"):
        asked(gated, lambda c, row: notice_for(c, row, FIRST), None, "C")


# -- codes ---------------------------------------------------------------------------------------------------------------------


def test_codes_of_regions_and_countries() -> None:
    assert sum(where == "EU" for where in table().values()) == 27
    expected = {
        "CN": "CN",
        "CN-31": "CN",
        "310115": "CN",
        "710000": "TW",
        "810000": "HK",
        "820000": "MO",
        "CN-HK": "HK",
        "DE": "EU",
        "FR-75": "EU",
        "GB": "UK",
        "GB-NIR": "UK",
        "EU": "EU",
        "UK": "UK",
        "US-IA-153": "US",
        "NO": "NO",
        "19153": None,
        "R7": None,
        "cn": None,
        "China": None,
        "": None,
        "CNX": None,
    }
    assert {code: of_code(code) for code in expected} == expected
    assert of_chain(("R7", "EAST", "CN")) == "CN"
    assert of_chain(()) is None
