"""Units: proposed by an author, approved by somebody else, whatever names, tokens and terminals somebody has at hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from casework_samples import employ
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from fangcuan.cases.history.verification import verify
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people import grants, tokens
from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.tokens import token_actor
from fangcuan.cases.policies.approvals import (
    ApprovalRefused,
    approve,
    approve_shipped,
    approved,
    list_versions,
    propose,
)
from fangcuan.cases.refusals import NotAuthorised, UnknownUser, list_refusals
from fangcuan.store.database import write

BOSS = Actor("user:boss")
AUTHOR, APPROVER = (
    Actor("user:author", frozenset({"rule_author"})),
    Actor("user:approver", frozenset({"rule_approver"})),
)
BOTH = Actor("user:both", frozenset({"rule_author", "rule_approver"}))
DIGEST = "a" * 64
UNIT: dict[str, Any] = {"unit_id": "price.x", "unit_digest": DIGEST, "text": "select 1", "status": "active"}


@pytest.fixture
def staffed(engine: Engine) -> Engine:
    employ(engine, AUTHOR, APPROVER, BOTH)
    return engine


def refused(engine: Engine, actor: Actor) -> str:
    """The approval is refused, nothing has changed, and the refusal is logged; what it said."""
    before = verify(engine, projected=False).events
    with pytest.raises(NotAuthorised) as caught:
        approve(engine, actor, unit_digest=DIGEST)
    assert approved(engine) == frozenset()
    assert verify(engine, projected=False).events == before
    newest = list_refusals(engine, 1)[0]
    assert (newest["actor"], newest["command"]) == (actor.name, "approve_unit")
    return str(caught.value)


def test_a_unit_is_proposed_by_one_and_approved_by_another(staffed: Engine) -> None:
    with pytest.raises(ApprovalRefused, match="nothing was proposed"):
        approve(staffed, APPROVER, unit_digest=DIGEST)
    assert propose(staffed, AUTHOR, **UNIT)
    assert not propose(staffed, BOTH, **UNIT)
    assert approve(staffed, APPROVER, unit_digest=DIGEST)
    assert not approve(staffed, BOTH, unit_digest=DIGEST)
    assert approved(staffed) == {DIGEST}
    (version,) = list_versions(staffed, "price.x")
    assert (version["proposed_by"], version["approved_by"]) == (AUTHOR.name, APPROVER.name)
    assert verify(staffed).exit_code == 0


def test_roles_are_asked_of_the_casebook(staffed: Engine) -> None:
    for actor in (APPROVER, BOSS, Actor(AUTHOR.name, frozenset({"analyst"}))):
        with pytest.raises(NotAuthorised, match="rule_author"):
            propose(staffed, actor, **UNIT)
    with pytest.raises(UnknownUser):
        propose(staffed, Actor("user:nobody", frozenset({"rule_author"})), **UNIT)
    propose(staffed, AUTHOR, **UNIT)
    for actor in (AUTHOR, BOSS, Actor(AUTHOR.name, frozenset({"rule_approver"}))):
        assert "rule_approver" in refused(staffed, actor)
    with pytest.raises(UnknownUser):
        approve(staffed, Actor("user:nobody", frozenset({"rule_approver"})), unit_digest=DIGEST)


def test_nobody_approves_what_he_proposed_under_the_same_name(staffed: Engine) -> None:
    propose(staffed, BOTH, **UNIT)
    assert "somebody else" in refused(staffed, BOTH)


def test_nobody_approves_by_a_second_account(staffed: Engine) -> None:
    people.add_user(staffed, BOSS, "second", name="Second", same_person_as="author")
    grants.grant_role(staffed, BOSS, "second", "rule_approver")
    propose(staffed, AUTHOR, **UNIT)
    assert "somebody else" in refused(staffed, Actor("user:second"))


def test_nobody_approves_by_an_account_that_was_linked_later(staffed: Engine) -> None:
    propose(staffed, AUTHOR, **UNIT)
    people.link_users(staffed, BOSS, "approver", same_person_as="author")
    assert "somebody else" in refused(staffed, APPROVER)
    # The other way round the proposer's person is renamed by the link.
    people.add_user(staffed, BOSS, "third", name="Third")
    people.link_users(staffed, BOSS, "author", same_person_as="third")
    assert "somebody else" in refused(staffed, APPROVER)


def test_nobody_approves_from_his_own_terminal_in_anothers_name(staffed: Engine) -> None:
    propose(staffed, AUTHOR, **UNIT)
    assert "somebody else" in refused(staffed, Actor(APPROVER.name, terminal=AUTHOR.name))


def test_nobody_approves_what_was_proposed_at_his_terminal(staffed: Engine) -> None:
    propose(staffed, Actor(AUTHOR.name, terminal=APPROVER.name), **UNIT)
    assert "somebody else" in refused(staffed, APPROVER)


def test_nobody_approves_by_a_token_that_was_issued_at_his_terminal(staffed: Engine) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    at_authors = Actor(APPROVER.name, terminal=AUTHOR.name)
    given = tokens.issue_token(staffed, at_authors, "approver", label="x", expires_at=later)
    propose(staffed, AUTHOR, **UNIT)
    assert "somebody else" in refused(staffed, token_actor(staffed, given))


def test_the_database_refuses_one_name_for_both(staffed: Engine) -> None:
    propose(staffed, AUTHOR, **UNIT)
    with pytest.raises(IntegrityError), write(staffed) as connection:
        connection.execute(text("update rule_version set approved_by = proposed_by, approved_at = proposed_at"))
    with pytest.raises(IntegrityError), write(staffed) as connection:
        connection.execute(text("update rule_version set approved_by = 'user:approver'"))
    assert approved(staffed) == frozenset()


def test_an_approval_written_past_the_commands_is_found(staffed: Engine) -> None:
    propose(staffed, AUTHOR, **UNIT)
    with write(staffed) as connection:
        connection.execute(text("update rule_version set approved_by = 'user:approver', approved_at = proposed_at"))
    assert verify(staffed).exit_code == 4


def test_what_a_person_proposed_is_not_approved_by_making_the_installation_again(staffed: Engine) -> None:
    propose(staffed, AUTHOR, **UNIT)
    assert not approve_shipped(staffed, **UNIT)
    assert approved(staffed) == frozenset()
    shipped = {**UNIT, "unit_digest": "b" * 64}
    assert approve_shipped(staffed, **shipped)
    assert not approve_shipped(staffed, **shipped)
    assert approved(staffed) == {"b" * 64}
    assert verify(staffed).exit_code == 0
