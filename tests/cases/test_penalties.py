"""Penalties: computed line by line from the contract, agreed by two, appealed, reviewed by a third, and settled."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import FIRST, file_night, make_finding
from orders import ALL, OTHER, THIRD, bring, case, give, know, ordered, penalise, shown, standing
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DatabaseError

from fangcuan.cases import workflow
from fangcuan.cases.executor import Conflict, GuardFailed, NotAuthorised, NotOffered, UnknownUser, answer_by_link
from fangcuan.cases.history.verification import verify
from fangcuan.cases.letters.correspondence import link_hash
from fangcuan.cases.penalties.computation import compute, penalties_of
from fangcuan.cases.penalties.lines import Counted
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people import grants
from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.channels import choose_channels
from fangcuan.cases.policies import versions as policies
from fangcuan.cases.policies.legal_gate import Blocked
from fangcuan.cases.policies.rows import proposable
from fangcuan.cases.policies.versions import in_force
from fangcuan.cases.refusals import list_refusals
from fangcuan.cases.views import list_cases
from fangcuan.core.canonical import digest, sha256_hex
from fangcuan.core.masters import MASTERS
from fangcuan.store.casework import case_file
from fangcuan.store.database import read, write
from fangcuan.store.outbox import outbox

CASE, SECOND = "FC-2026-000001", "FC-2026-000002"
RULES = workflow.default()
NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


@pytest.fixture
def casebook(engine: Engine, folder: Path) -> Engine:
    """Two confirmed cases of one dealer, whose contract has a ladder."""
    line = {"grouping": {"product_line": "B"}, "product_line": "B"}
    file_night(engine, folder, [make_finding("P1"), make_finding("P1", **line)])
    orders.staff(engine)
    for number in (CASE, SECOND):
        bring(engine, number, "confirmed")
        orders.agree_ladder(engine, number)
    return engine


def the_penalty(engine: Engine, number: str = CASE) -> dict[str, Any]:
    with read(engine) as connection:
        return penalties_of(connection, number)[-1]


def computation(engine: Engine, number: str = CASE, counted: tuple[Counted, ...] = ()) -> dict[str, Any]:
    with read(engine) as connection:
        row = connection.execute(select(case_file).where(case_file.c.number == number)).one()
        return compute(connection, row, RULES, dt.datetime.now(dt.UTC), counted)


def test_every_figure_of_a_penalty_is_there(casebook: Engine) -> None:
    found = computation(casebook)
    warning, fine = found["lines"]
    assert (warning["step"], warning["money"]) == ("warning", None)
    assert {name: fine[name] for name in ("units", "per_unit", "computed", "cap", "rounding", "money", "currency")} == {
        "units": "12.5",
        "per_unit": "10",
        "computed": "125",
        "cap": "100",
        "rounding": "down",
        "money": "100",
        "currency": "CNY",
    }
    assert fine["clause"] == {"contract_ref": "C-P1", "wording": "t1"}
    assert (found["claimed"], found["currency"], found["occurrence"], found["earlier"]) == ("100", "CNY", 1, [])
    assert found["day"] == "2026-03-31", "the last day of the window, not the first of the next"
    assert found["counted"] == [
        {"region_code": "CN-31", "sku": "SKU-1", "product_line": "A", "units": "12.5", "codes": None}
    ]


def test_codes_count_where_they_are_known_and_never_beyond_the_findings(casebook: Engine) -> None:
    seven = Counted("CN-31", "SKU-1", "A", Decimal(7), "c" * 64)
    found = computation(casebook, counted=(seven,))
    assert (found["units"], found["claimed"]) == ("7", "70")
    give(
        casebook,
        "propose",
        CASE,
        ALL,
        kind="penalty",
        note="as agreed",
        counted=[{**vars(seven), "units": "7"}],
    )
    give(casebook, "approve", CASE, OTHER)
    assert the_penalty(casebook)["computation"]["counted"][0]["codes"] == "c" * 64
    for wrong, message in (
        ({"units": "13"}, "13 codes counted in CN-31, and the findings .* speak of 12.5"),
        ({"units": "1", "region_code": "CN-44"}, "1 codes counted in CN-44, and .* speak of 0"),
        ({"units": "1.5"}, "expected whole units"),
        ({"units": "-1"}, "expected whole units"),
        ({"codes": "x"}, "the sha256 of their codes"),
        ({"units": "many"}, "is none"),
    ):
        counted = [{**vars(seven), "units": "7", **wrong}]
        with pytest.raises(GuardFailed, match=message):
            give(casebook, "propose", SECOND, ALL, kind="penalty", note="n", counted=counted)


def test_it_climbs_with_repeats_that_were_issued_and_stand(casebook: Engine) -> None:
    penalise(casebook, CASE, "agreed")
    assert computation(casebook, SECOND)["occurrence"] == 1, "one that has not gone out is no repeat"
    give(casebook, "issue_penalty", CASE, ALL, **ordered(sanction("issue")))
    second = computation(casebook, SECOND)
    assert (second["occurrence"], second["earlier"]) == (2, [CASE])
    (fine,) = second["lines"]
    assert (fine["items"][0]["price_of_units"], fine["computed"], fine["money"]) == ("1000", "5000", "5000")
    reverse(casebook)
    assert computation(casebook, SECOND)["occurrence"] == 1, "what was reversed never was"


def sanction(does: str) -> Any:
    return next(each for each in RULES.sanctions if each.does == does)


def reverse(engine: Engine, approver: Actor = THIRD) -> None:
    give(engine, "propose", CASE, ALL, kind="reverse", reason="mistake", note="n")
    give(engine, "approve", CASE, approver)


def test_the_whole_way_of_a_penalty(casebook: Engine, folder: Path) -> None:
    give(casebook, "propose", CASE, ALL, kind="penalty", note="as agreed")
    with pytest.raises(NotAuthorised):
        give(casebook, "approve", CASE, ALL)
    give(casebook, "approve", CASE, OTHER)
    made = the_penalty(casebook)
    assert (made["claimed"], made["due"], made["settled"], made["issued_at"]) == ("100", "100", None, None)
    assert made["evidence_root"] == case(casebook)["evidence_root"]
    assert made["computation_digest"] == digest(made["computation"])
    with pytest.raises(GuardFailed, match=r"penalty 1 .* settle it, or have it waived or reversed, first"):
        give(casebook, "close", CASE, ALL, outcome="penalised")
    with pytest.raises(NotOffered):
        give(casebook, "propose", CASE, ALL, kind="penalty", note="another")
    with pytest.raises(NotOffered):
        give(casebook, "settle_penalty", CASE, ALL, amount="1", note="n")
    give(casebook, "issue_penalty", CASE, ALL, **ordered(sanction("issue")))
    with pytest.raises(GuardFailed, match="can be appealed against until"):
        give(casebook, "settle_penalty", CASE, ALL, amount="100", note="paid")
    give(casebook, "appeal", CASE, ALL, reason="disproportionate", text="by telephone")
    with pytest.raises(NotOffered):
        give(casebook, "settle_penalty", CASE, ALL, amount="1", note="n")
    for amount, message in (("100", "expected less"), ("x", "such as 1200.50"), ("-1", "not below 0")):
        with pytest.raises(GuardFailed, match=message):
            give(casebook, "propose", CASE, ALL, kind="reduce", reason="appeal", note="n", amount=amount)
    give(casebook, "propose", CASE, ALL, kind="reduce", reason="appeal", note="half", amount="50")
    give(casebook, "approve", CASE, THIRD)
    give(casebook, "tell_review", CASE, ALL, **ordered(sanction("tell")))
    with pytest.raises(GuardFailed, match="due are 50 CNY"):
        give(casebook, "settle_penalty", CASE, ALL, amount="50.01", note="n")
    give(casebook, "settle_penalty", CASE, ALL, amount="45", note="settled by agreement")
    done = the_penalty(casebook)
    assert (done["claimed"], done["due"], done["settled"]) == ("100", "50", "45")
    assert [one["reason"] for one in done["appeals"]] == ["disproportionate"]
    give(casebook, "close", CASE, ALL, outcome="penalised")
    assert shown(casebook, folder)["penalties"] == [done]
    assert verify(casebook).exit_code == 0


def test_a_review_is_by_somebody_who_had_no_part(casebook: Engine) -> None:
    penalise(casebook, CASE, "appealed")
    for kind in ("uphold", "reduce", "reverse"):
        proposal = RULES.proposal(kind)
        given = orders.meet(casebook, proposal, CASE)
        # Not even where somebody else proposes it.
        give(casebook, "propose", CASE, THIRD, **given)
        for actor in (ALL, OTHER):
            with pytest.raises(NotAuthorised, match="had a part in it; somebody else has to review it"):
                give(casebook, "approve", CASE, actor)
        assert list_refusals(casebook, 1)[0]["command"] == "approve"
        give(casebook, "withdraw", CASE, THIRD)
    assert standing(casebook, CASE) == "appealed"


def test_the_partner_appeals_by_his_link_and_no_other_way(casebook: Engine) -> None:
    penalise(casebook, CASE, "agreed")
    given = {**ordered(sanction("issue")), "link_id": "a" * 16, "link_hash": link_hash("secret")}
    with pytest.raises(GuardFailed, match="15 to 30 days ahead"):
        give(casebook, "issue_penalty", CASE, ALL, **given, appeal_until=NOW.isoformat())
    give(casebook, "issue_penalty", CASE, ALL, **given)
    said = {"reason": "wrong_count", "text": "there were two", "files": [{"name": "a.pdf", "sha256": "b" * 64}]}
    with pytest.raises(UnknownUser):
        answer_by_link(casebook, "a" * 16 + "_other", said, "k")
    with pytest.raises(GuardFailed, match="reason 'admitted'; expected one of not_ours"):
        answer_by_link(casebook, "a" * 16 + "_secret", {**said, "reason": "admitted"}, "k")
    late = dt.datetime.now(dt.UTC) + dt.timedelta(days=16)
    with pytest.raises(UnknownUser):
        answer_by_link(casebook, "a" * 16 + "_secret", said, "k", now=late)
    assert answer_by_link(casebook, "a" * 16 + "_secret", said, "k").case == CASE
    assert answer_by_link(casebook, "a" * 16 + "_secret", said, "k").replayed
    with pytest.raises(NotOffered):
        answer_by_link(casebook, "a" * 16 + "_secret", said, "k2")
    (one,) = the_penalty(casebook)["appeals"]
    assert (one["appealed_by"], one["files"]) == (f"link:{'a' * 16}", said["files"])
    assert verify(casebook).exit_code == 0


def test_an_appeal_is_told_to_whoever_can_look_at_it(casebook: Engine) -> None:
    for user in ("all", "other-one", "third-one"):
        choose_channels(casebook, Actor("user:boss"), user, [f"mail_{user.partition('-')[0]}"])
    penalise(casebook, CASE, "issued")
    give(casebook, "appeal", CASE, ALL, reason="other", text="by post")
    with read(casebook) as connection:
        told = connection.execute(select(outbox.c.channel).where(outbox.c.notice == "appeal_received")).scalars().all()
    assert sorted(told) == ["mail_other", "mail_third"], "whoever took it down knows"


def test_an_appeal_makes_an_open_proposal_stale(casebook: Engine) -> None:
    penalise(casebook, CASE, "issued")
    give(casebook, "propose", CASE, ALL, kind="waive", reason="goodwill", note="n")
    give(casebook, "appeal", CASE, OTHER, reason="other", text="wait")
    with pytest.raises(Conflict, match="stale"):
        give(casebook, "approve", CASE, THIRD)


def test_what_it_was_computed_from_must_not_change_before_it_is_agreed(casebook: Engine) -> None:
    give(casebook, "propose", CASE, ALL, kind="penalty", note="n")
    know(casebook, "contracts", contract_ref="C-P1", partner_id="P1", clause_code="T1", text="t1, amended",
         recorded_at=dt.datetime.now(dt.UTC))  # fmt: skip
    with pytest.raises(Conflict, match="computed again, lines differ"):
        give(casebook, "approve", CASE, OTHER)
    give(casebook, "return", CASE, OTHER, note="the contract was amended")
    penalise(casebook, CASE, "agreed")
    assert the_penalty(casebook)["computation"]["lines"][0]["clause"]["wording"] == "t1, amended"


def test_later_evidence_makes_it_stale(casebook: Engine, folder: Path) -> None:
    give(casebook, "propose", CASE, ALL, kind="penalty", note="n")
    file_night(casebook, folder, [make_finding("P1", sku="SKU-9")], FIRST + dt.timedelta(days=1))
    with pytest.raises(Conflict, match="findings were added"):
        give(casebook, "approve", CASE, OTHER)


def test_what_is_not_known_is_said(casebook: Engine, folder: Path) -> None:
    file_night(casebook, folder, [make_finding("P7"), make_finding("P8", subject_kind="seller")])
    numbers = {one: each["number"] for each in list_cases(casebook) if (one := each["subject"]["id"]) in ("P7", "P8")}
    for number in numbers.values():
        bring(casebook, number, "confirmed")
    with pytest.raises(
        GuardFailed, match=r"contract of P7 on 2026-03-31 fits wrong_region, malicious, 12.5 units, 0 before"
    ):
        computation(casebook, numbers["P7"])
    with pytest.raises(GuardFailed, match="is about a seller"):
        computation(casebook, numbers["P8"])
    with pytest.raises(GuardFailed, match="list prices, and SKU-7 had none"):
        computed_for(casebook, Counted("CN-31", "SKU-7", "A", Decimal(2), "d" * 64))
    with pytest.raises(GuardFailed, match="not known which products"):
        computed_for(casebook, Counted("CN-31", None, "A", Decimal(2), "d" * 64))


def computed_for(engine: Engine, counted: Counted) -> dict[str, Any]:
    """The second penalty of the dealer, which goes by list prices."""
    if standing(engine, CASE) is None:
        penalise(engine, CASE, "issued")
    return computation(engine, SECOND, (counted,))


def test_the_legal_gate_is_asked_when_it_is_proposed_agreed_and_issued(casebook: Engine) -> None:
    penalise(casebook, CASE, "agreed")
    give(casebook, "propose", SECOND, ALL, kind="penalty", note="n")
    deny(casebook)
    with pytest.raises(Blocked, match=r"CN\|diversion\|propose_penalty"):
        give(casebook, "issue_penalty", CASE, ALL, **ordered(sanction("issue")))
    with pytest.raises(Blocked):
        give(casebook, "approve", SECOND, OTHER)
    give(casebook, "withdraw", SECOND, ALL)
    with pytest.raises(Blocked):
        give(casebook, "propose", SECOND, ALL, kind="penalty", note="n")


def deny(engine: Engine) -> None:
    with read(engine) as connection:
        rows = in_force(connection, "legal_gate", dt.date.today())
    names = proposable(MASTERS["legal_gate"]).column_names
    key = ("CN", "diversion", "propose_penalty")
    row = next(one for one in rows if (one["jurisdiction"], one["family"], one["action"]) == key)
    number = policies.propose(engine, ALL, "legal_gate", [{**{name: row[name] for name in names}, "allowed": False}])
    policies.approve(engine, OTHER, number)


def test_what_comes_after_a_settled_penalty_is_another_case(casebook: Engine, folder: Path) -> None:
    penalise(casebook, CASE, "settled")
    give(casebook, "close", CASE, ALL, outcome="penalised")
    penalise(casebook, SECOND, "reversed")
    give(casebook, "close", SECOND, ALL, outcome="no_action")
    line = {"grouping": {"product_line": "B"}, "product_line": "B"}
    night = FIRST + dt.timedelta(days=31)
    file_night(casebook, folder, [make_finding("P1", month=4), make_finding("P1", month=4, **line)], night)
    new = [each for each in list_cases(casebook) if each["number"] not in {CASE, SECOND}]
    assert [(each["epoch"], each["product_line"]) for each in new] == [(2, "A")]
    assert case(casebook, CASE)["status"] == "closed"
    assert case(casebook, SECOND)["regressed"], "what was reversed settled nothing"


def test_a_standing_penalty_keeps_a_case_from_being_dismissed(casebook: Engine) -> None:
    penalise(casebook, CASE, "issued")
    give(casebook, "propose", CASE, ALL, kind="reopen", note="he was right")
    give(casebook, "approve", CASE, OTHER)
    with pytest.raises(GuardFailed, match="stands"):
        give(casebook, "propose", CASE, ALL, kind="dismiss", reason="authorised", note="n")
    reverse(casebook)
    give(casebook, "propose", CASE, ALL, kind="dismiss", reason="authorised", note="n")
    give(casebook, "approve", CASE, OTHER)
    assert the_penalty(casebook)["due"] == "0"


def test_appeals_are_never_altered_and_penalties_past_the_commands_are_named(casebook: Engine) -> None:
    penalise(casebook, CASE, "appealed")
    with pytest.raises(DatabaseError), write(casebook) as connection:
        connection.execute(text("update appeal set text = 'x'"))
    with write(casebook) as connection:
        connection.execute(text("update penalty set due = '1'"))
    found = verify(casebook)
    assert (found.exit_code, [each.field for each in found.problems]) == (4, ["due"])


def test_every_role_with_every_command_on_a_penalty(engine: Engine, folder: Path) -> None:
    tries = [(order, role) for order in RULES.sanctions for role in order.roles]
    lines = [{"grouping": {"product_line": f"L{at}"}, "product_line": f"L{at}"} for at in range(len(tries))]
    file_night(engine, folder, [make_finding("P1", **line) for line in lines])
    orders.staff(engine)
    holders = {role: hired(engine, role) for role in RULES.roles}
    refused = 0
    for number, (order, role) in zip(sorted(each["number"] for each in list_cases(engine)), tries, strict=True):
        bring(engine, number, "confirmed")
        penalise(engine, number, order.from_[0])
        for other in RULES.roles:
            if other not in order.roles:
                with pytest.raises(NotAuthorised, match=" or ".join(order.roles)):
                    give(engine, order.command, number, holders[other], **ordered(order))
                refused += 1
        give(engine, order.command, number, holders[role], **ordered(order))
    assert len(list_refusals(engine, 1_000)) == refused > 30
    assert verify(engine).exit_code == 0


def hired(engine: Engine, role: str) -> Actor:
    """An account that holds one role, and nothing else."""
    held, user_id = RULES.roles[role], role.replace("_", "-")
    service = held.holder == "service"
    keeper = "keeper" if service else None
    people.add_user(engine, Actor("user:boss"), user_id, name=role, kind=held.holder, same_person_as=keeper)
    grants.grant_role(engine, Actor("user:boss"), user_id, role, partner="P1" if held.scope == "partner" else None)
    return Actor(f"{'service' if service else 'user'}:{user_id}")


def test_a_letter_digest_that_is_none_is_refused(casebook: Engine) -> None:
    penalise(casebook, CASE, "agreed")
    with pytest.raises(GuardFailed, match="a notice has a language"):
        give(casebook, "issue_penalty", CASE, ALL, **{**ordered(sanction("issue")), "sha256": "x"})
    with pytest.raises(GuardFailed, match="a link has an id"):
        give(casebook, "issue_penalty", CASE, ALL, language="zh", sha256=sha256_hex(b"a"))
    assert standing(casebook, CASE) == "agreed"
