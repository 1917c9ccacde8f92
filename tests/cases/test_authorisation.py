"""Every role against every command of the registry, and where a role holds: what is not allowed is refused and logged."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import employ, file_night, make_finding
from sqlalchemy import Engine

from fangcuan.cases import workflow
from fangcuan.cases.auditing import samples as audit_sample
from fangcuan.cases.comments import list_comments
from fangcuan.cases.evidence.attachments import LINKS
from fangcuan.cases.executor import Command, NotAuthorised, execute
from fangcuan.cases.filing import suppressions
from fangcuan.cases.history.verification import verify
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people import channels, erasure, grants, tokens
from fangcuan.cases.people.access import Actor, Area, covers
from fangcuan.cases.refusals import GuardFailed, list_refusals
from fangcuan.cases.views import list_cases
from fangcuan.cases.workflow import PROPOSE, Proposal, Transition
from fangcuan.core.canonical import sha256_hex
from fangcuan.store.database import read, write
from fangcuan.store.masters import MASTER_TABLES

RULES = workflow.default()
BOSS = Actor("user:boss")
STEPS: list[Transition | Proposal] = [*(each for each in RULES.transitions if not each.wake), *RULES.proposals]


def holder(role: str) -> Actor:
    return Actor(f"{'service' if RULES.roles[role].holder == 'service' else 'user'}:{role.replace('_', '-')}")


@pytest.fixture
def staffed(engine: Engine) -> Engine:
    """One account for each role, which holds that role and no other, and one that holds every role of casework."""
    orders.staff(engine)
    for name, role in RULES.roles.items():
        user_id = holder(name).name.partition(":")[2]
        keeper = "keeper" if role.holder == "service" else None
        people.add_user(engine, BOSS, user_id, name=name, kind=role.holder, same_person_as=keeper)
        partner = "P1" if role.scope == "partner" else None
        grants.grant_role(engine, BOSS, user_id, name, partner=partner)
    return engine


def attempt(engine: Engine, command: str, number: str, role: str, roles: tuple[str, ...], **given: Any) -> bool:
    """Give a command as the holder of a role; whether it was carried out. A refusal is logged and leaves no event."""
    actor = holder(role)
    if role in roles:
        orders.give(engine, command, number, actor, **given)
        return True
    before = verify(engine, projected=False).events
    with pytest.raises(NotAuthorised, match=" or ".join(roles)):
        orders.give(engine, command, number, actor, **given)
    assert verify(engine, projected=False).events == before
    newest = list_refusals(engine, 1)[0]
    assert (newest["actor"], newest["command"], newest["target"]) == (actor.name, command, number)
    return False


def test_every_role_with_every_step(staffed: Engine, folder: Path) -> None:
    pairs = [(each, start) for each in STEPS for start in each.from_]
    file_night(staffed, folder, [make_finding(f"P{number:03d}") for number in range(2 * len(pairs) * len(RULES.roles))])
    numbers = iter(orders.undrawn(staffed))
    into = next(numbers)
    tried = done = 0
    for step, start in pairs:
        command = PROPOSE if isinstance(step, Proposal) else step.command
        number = next(numbers)
        orders.ready(staffed, number, step, start)
        for role in RULES.roles:
            tried += 1
            given = orders.meet(staffed, step, number, into=into)
            later = dt.datetime.now(dt.UTC) + orders.MUCH_LATER if "appeal_window" in step.guards else None
            if attempt(staffed, command, number, role, step.roles, now=later, **given):
                done += 1
                number = next(numbers)
                orders.ready(staffed, number, step, start)
    assert len(list_refusals(staffed)) == tried - done
    assert tried > 100
    assert verify(staffed).exit_code == 0


def test_every_role_with_every_verdict(staffed: Engine, folder: Path) -> None:
    pairs = [(kind, verdict) for kind in RULES.proposals for verdict in RULES.verdicts if not verdict.own]
    file_night(staffed, folder, [make_finding(f"P{number:03d}") for number in range(1 + len(pairs) * len(RULES.roles))])
    into, *left = sorted(case["number"] for case in list_cases(staffed))
    numbers = iter(left)
    for kind, verdict in pairs:
        number = ""
        for role in RULES.roles:
            if not number:
                number = next(numbers)
                orders.bring(staffed, number, kind.from_[0])
                given = orders.meet(staffed, kind, number, into=into)
                orders.give(staffed, PROPOSE, number, orders.ALL, **given)
            if attempt(staffed, verdict.command, number, role, kind.approvers, note="seen"):
                number = ""
    assert verify(staffed).exit_code == 0


def test_every_role_with_every_overlay(staffed: Engine, folder: Path) -> None:
    file_night(staffed, folder, [make_finding()])
    (number,) = (case["number"] for case in list_cases(staffed))
    laid = {each.lays: each for each in RULES.overlays if each.lays}
    lifted = {each.lifts: each for each in RULES.overlays if each.lifts}
    for name, lays in laid.items():
        for role in RULES.roles:
            if attempt(staffed, lays.command, number, role, lays.roles, **orders.meet(staffed, lays, number)):
                lifts = lifted[name]
                orders.give(staffed, lifts.command, number, orders.ALL, **orders.meet(staffed, lifts, number))
        orders.give(staffed, lays.command, number, orders.ALL, **orders.meet(staffed, lays, number))
        for role in RULES.roles:
            lifts = lifted[name]
            if attempt(staffed, lifts.command, number, role, lifts.roles, **orders.meet(staffed, lifts, number)):
                orders.give(staffed, lays.command, number, orders.ALL, **orders.meet(staffed, lays, number))
        orders.give(staffed, lifted[name].command, number, orders.ALL, **orders.meet(staffed, lifted[name], number))
    assert verify(staffed).exit_code == 0


def test_every_role_with_every_command_on_who_holds_a_case(staffed: Engine, folder: Path) -> None:
    employ(staffed, Actor("user:other", frozenset({"analyst"})))
    pairs = [(each, role, own) for each in RULES.work for role in RULES.roles for own in (False, True)]
    file_night(staffed, folder, [make_finding(f"P{number:03d}") for number in range(len(pairs))])
    tried = 0
    for number, (work, role, own) in zip(sorted(c["number"] for c in list_cases(staffed)), pairs, strict=True):
        actor = holder(role)
        if work.assignee != "self":
            held = actor.name if own else "user:other"
            if own and role not in {"analyst", "supervisor"}:
                continue
            execute(staffed, Command("assign", number, Actor("user:all"), f"{number}a", None, {"to": held}))
        params = {"to": "user:all"} if work.assignee == "given" else {}
        command = Command(work.command, number, actor, number, None, params)
        tried += 1
        if role in work.roles or (own and role in work.own):
            execute(staffed, command)
        else:
            with pytest.raises(NotAuthorised, match=" or ".join(work.roles)):
                execute(staffed, command)
    assert tried > 30
    assert verify(staffed).exit_code == 0


def test_every_role_with_every_remark(staffed: Engine, folder: Path) -> None:
    file_night(staffed, folder, [make_finding("P1"), make_finding("P2")])
    number, other = sorted(case["number"] for case in list_cases(staffed))
    for remark in RULES.remarks:
        for role in RULES.roles:
            actor = holder(role)
            params: dict[str, Any] = {
                "attachment": {"kind": "other", "name": role, "sha256": sha256_hex(role.encode())},
                "link": {"other": other, "kind": LINKS[sorted(RULES.roles).index(role) % len(LINKS)]},
                "review": {"result": "agrees"},
            }.get(remark.writes, {"text": role})
            if remark.writes == "amendment" and role in remark.roles:
                written = execute(staffed, Command("comment", number, actor, f"{role}-first", None, params))
                assert written.version == 1
                with read(staffed) as connection:
                    params = {"text": "better", "comment": list_comments(connection, number)[-1]["comment"]}
            command = Command(remark.command, number, actor, f"{remark.command}-{role}", None, params)
            if role in remark.roles:
                assert execute(staffed, command).version == 1
            else:
                with pytest.raises(NotAuthorised, match=" or ".join(remark.roles)):
                    execute(staffed, command)
    assert verify(staffed).exit_code == 0


def soon() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=1)


def _revoke_token(engine: Engine, actor: Actor) -> None:
    given = tokens.issue_token(engine, BOSS, "service", label="x", expires_at=soon())
    tokens.revoke_token(engine, actor, given.split("_")[1])


def _revoke_role(engine: Engine, actor: Actor) -> None:
    people.add_user(engine, BOSS, "temp", name="Temp")
    grants.grant_role(engine, BOSS, "temp", "legal")
    grants.revoke_role(engine, actor, "temp", role="legal")


#: Each command on accounts, given for the account of somebody else.
ADMINISTRATION: dict[str, Callable[[Engine, Actor], Any]] = {
    "add_user": lambda e, a: people.add_user(e, a, "fresh", name="Fresh"),
    "link_users": lambda e, a: people.link_users(e, a, "all", same_person_as="keeper"),
    "disable_user": lambda e, a: people.disable_user(e, a, "keeper"),
    "set_password": lambda e, a: people.set_password(e, a, "all", "long enough to pass"),
    "grant_role": lambda e, a: grants.grant_role(e, a, "keeper", "analyst"),
    "revoke_role": _revoke_role,
    "issue_token": lambda e, a: tokens.issue_token(e, a, "robot", label="x", expires_at=soon()),
    "revoke_token": _revoke_token,
    "erase_user": lambda e, a: erasure.erase_user(e, a, "gone", note="request 7"),
    "choose_channels": lambda e, a: channels.choose_channels(e, a, "all", ["mail"]),
}


def _suppress(engine: Engine, actor: Actor) -> int:
    day = dt.date(2026, 1, 1)
    matcher = {"family": "diversion", "sku": "S"}
    return suppressions.propose_suppression(
        engine, actor, matcher, reason="known", note="known", starts_on=day, ends_on=day + dt.timedelta(days=9)
    )


def _export_labels(engine: Engine, actor: Actor) -> None:
    # The command's file is the flow's; who may give it is decided here.
    with people.administering(engine, actor, "export_labels", "labels.jsonl", None) as (_, _, record):
        record("labels.exported", {"rows": 0})


def _draw_sample(engine: Engine, actor: Actor) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file_night(engine, Path(folder), [make_finding()])
    audit_sample.draw_sample(engine, actor, count=1, seed="s", filters=audit_sample.SampleFilter(decided=False))


#: Each command on the casebook as a whole.
EXCEPTIONS: dict[str, Callable[[Engine, Actor], Any]] = {
    "propose_suppression": _suppress,
    "approve_suppression": lambda e, a: suppressions.approve_suppression(e, a, _suppress(e, orders.ALL)),
    "end_suppression": lambda e, a: suppressions.end_suppression(e, a, _suppress(e, orders.ALL)),
    "export_labels": _export_labels,
    "draw_sample": _draw_sample,
}


@pytest.mark.parametrize("command", [one.command for one in RULES.exceptions])
def test_every_role_with_every_command_on_the_casebook(staffed: Engine, command: str) -> None:
    rule = RULES.administrative(command)
    for role in RULES.roles:
        if role in rule.roles:
            EXCEPTIONS[command](staffed, holder(role))
        else:
            with pytest.raises(NotAuthorised, match=" or ".join(rule.roles)):
                EXCEPTIONS[command](staffed, holder(role))
    assert verify(staffed).exit_code == 0


@pytest.mark.parametrize("command", [one.command for one in RULES.administration])
def test_every_role_with_every_command_on_accounts(staffed: Engine, command: str) -> None:
    people.add_user(staffed, BOSS, "robot", name="Robot", kind="service", same_person_as="keeper")
    people.add_user(staffed, BOSS, "gone", name="Somebody")
    people.disable_user(staffed, BOSS, "gone")
    rule = RULES.administrative(command)
    # Whoever may comes last: some of these commands can be given once.
    for role in sorted(RULES.roles, key=lambda name: name in rule.roles):
        if role in rule.roles:
            ADMINISTRATION[command](staffed, holder(role))
            continue
        if command in {"revoke_role", "revoke_token"}:
            continue
        with pytest.raises(NotAuthorised, match=" or ".join(rule.roles)):
            ADMINISTRATION[command](staffed, holder(role))
    assert verify(staffed).exit_code == 0


@pytest.mark.parametrize("command", ["revoke_role", "revoke_token"])
def test_nobody_else_ends_roles_and_tokens(staffed: Engine, command: str) -> None:
    grants.grant_role(staffed, BOSS, "all", "rule_author")
    given = tokens.issue_token(staffed, Actor("user:all"), "all", label="x", expires_at=soon()).split("_")[1]
    for role in RULES.roles:
        if role in RULES.administrative(command).roles:
            continue
        ways: dict[str, Callable[[], Any]] = {
            "revoke_role": partial(grants.revoke_role, staffed, holder(role), "all", role="rule_author"),
            "revoke_token": partial(tokens.revoke_token, staffed, holder(role), given),
        }
        with pytest.raises(NotAuthorised, match="is not admin"):
            ways[command]()


def test_the_registry_is_what_is_tested() -> None:
    assert set(ADMINISTRATION) == {one.command for one in RULES.administration}
    assert set(EXCEPTIONS) == {one.command for one in RULES.exceptions}
    assert not any("admin" in each.roles for each in RULES.transitions)
    assert set(RULES.roles) >= {"analyst", "supervisor", "legal", "rule_author", "rule_approver", "auditor", "partner"}


def record(engine: Engine, relation: str, **values: Any) -> None:
    """A row of master data, as a load writes it."""
    table = MASTER_TABLES[relation]
    key = next(iter(values.values()))
    fixed = {"row_digest": f"{relation}{values}"[:64], "business_key": key, "source_id": "t", "receipt_id": "t"}
    with write(engine) as connection:
        connection.execute(
            table.insert().values({**fixed, "recorded_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), **values})
        )


@pytest.fixture
def placed(engine: Engine, folder: Path) -> Engine:
    """Dealer P1 sits in a city of province 41, P2 in province 42, P3 nowhere known; SKU-1 is of brand Feng, line A."""
    for code, parent in (("41", "00"), ("411", "41"), ("4113", "411"), ("42", "00"), ("00", None)):
        record(engine, "regions", region_code=code, parent_code=parent, level="x")
    for partner, region in (("P1", "4113"), ("P2", "42"), ("P3", None)):
        record(engine, "partners", partner_id=partner, name=partner, kind="dealer", region_code=region, status="active")
    for sku, brand in (("SKU-1", "Feng"), ("SKU-9", "Yun")):
        record(engine, "products", sku=sku, name=sku, brand=brand, product_line="A" if sku == "SKU-1" else "B")
    one = {"region_code": None, "grouping": {"product_line": "A"}}
    two = {"region_code": None, "grouping": {"product_line": "B"}, "product_line": "B", "sku": "SKU-9"}
    findings = [make_finding(subject, **one) for subject in ("P1", "P2", "P3")] + [make_finding("P1", **two)]
    file_night(engine, folder, findings)
    employ(engine, Actor("user:ling", frozenset()))
    return engine


@pytest.mark.parametrize(
    ("scope", "reached"),
    [
        ({}, {"P1 A", "P1 B", "P2 A", "P3 A"}),
        ({"region": "00"}, {"P1 A", "P1 B", "P2 A"}),
        ({"region": "41"}, {"P1 A", "P1 B"}),
        ({"region": "4113"}, {"P1 A", "P1 B"}),
        ({"region": "42"}, {"P2 A"}),
        ({"region": "41131"}, set()),
        ({"brand": "Feng"}, {"P1 A", "P2 A", "P3 A"}),
        ({"brand": "Yun"}, {"P1 B"}),
        ({"region": "41", "brand": "Yun"}, {"P1 B"}),
        ({"region": "42", "brand": "Yun"}, set()),
    ],
)
def test_a_role_reaches_what_lies_in_its_scope(placed: Engine, scope: dict[str, str], reached: set[str]) -> None:
    grants.grant_role(placed, BOSS, "ling", "analyst", **scope)  # type: ignore[arg-type]
    found = set()
    for case in list_cases(placed):
        try:
            execute(placed, Command("triage", case["number"], Actor("user:ling"), case["number"]))
            found.add(f"{case['subject']['id']} {case['product_line']}")
        except NotAuthorised:
            continue
    assert found == reached
    told = [one["message"] for one in list_refusals(placed)]
    assert len(told) == 4 - len(reached)
    assert all("it takes analyst or supervisor for region" in message for message in told)


def test_two_halves_of_a_scope_make_no_whole(placed: Engine) -> None:
    """Region 42 for one brand and region 41 for another do not add up to either brand in both."""
    grants.grant_role(placed, BOSS, "ling", "analyst", region="42", brand="Yun")
    grants.grant_role(placed, BOSS, "ling", "supervisor", region="41", brand="Yun")
    for case in list_cases(placed):
        command = Command("triage", case["number"], Actor("user:ling"), case["number"])
        if (case["subject"]["id"], case["product_line"]) == ("P1", "B"):
            execute(placed, command)
        else:
            with pytest.raises(NotAuthorised):
                execute(placed, command)


def test_regions_in_a_circle_end() -> None:
    class Grant:
        region_code, brand, partner_id = "9", None, None

    assert not covers(Grant(), Area((("1", "2"), ("9",))))  # type: ignore[arg-type]
    assert covers(Grant(), Area((("1", "9"), ("9",))))  # type: ignore[arg-type]


def test_a_circle_in_the_master_data_is_no_endless_loop(engine: Engine, folder: Path) -> None:
    for code, parent in (("1", "2"), ("2", "1")):
        record(engine, "regions", region_code=code, parent_code=parent, level="x")
    record(engine, "partners", partner_id="P1", name="P1", kind="dealer", region_code="1", status="active")
    file_night(engine, folder, [make_finding("P1")])
    employ(engine, Actor("user:ling", frozenset()))
    grants.grant_role(engine, BOSS, "ling", "analyst", region="2")
    assert execute(engine, Command("triage", "FC-2026-000001", Actor("user:ling"), "k")).version == 2


def test_a_token_narrows_and_a_closed_account_does_nothing(placed: Engine) -> None:
    grants.grant_role(placed, BOSS, "ling", "analyst")
    grants.grant_role(placed, BOSS, "ling", "supervisor")
    given = tokens.issue_token(placed, Actor("user:ling"), "ling", label="x", expires_at=soon(), roles=["legal"])
    actor = tokens.token_actor(placed, given)
    with pytest.raises(NotAuthorised, match="a token that is not for it"):
        execute(placed, Command("triage", "FC-2026-000001", actor, "1"))
    people.disable_user(placed, BOSS, "ling")
    with pytest.raises(Exception, match="was closed"):
        execute(placed, Command("triage", "FC-2026-000001", Actor("user:ling"), "2"))
    with pytest.raises(GuardFailed, match="no such token"):
        tokens.revoke_token(placed, BOSS, "nothing")
