"""Whoever decides is somebody else than whoever proposed: the one place that compares the two."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from fangcuan.cases.people.access import Actor, persons
from fangcuan.cases.refusals import NotAuthorised
from fangcuan.store.accounts import account


def persons_behind(connection: Connection, actor: Actor) -> tuple[str, ...]:
    """Everybody who may be behind an actor, the person of his own account first."""
    own = persons(connection, Actor(actor.name))
    return (*sorted(own), *sorted(persons(connection, actor) - own))


def refuse_own(
    connection: Connection,
    actor: Actor,
    command: str,
    proposed_persons: Collection[str],
    *,
    did: str = "proposed it",
    takes: str = "decide",
) -> tuple[str, ...]:
    """The persons behind whoever decides. Raises NotAuthorised where one of them may have made the proposal.

    `did` and `takes` say so in the words of another matter: what the first ones did, and what takes somebody else.

    Accounts of one person, his tokens, the services he answers for, and his terminal under another name all count as him; so do
    accounts that were linked after he proposed it.
    """
    deciding = persons_behind(connection, actor)
    linked = select(account.c.person).where(account.c.user_id.in_(sorted(proposed_persons)))
    proposing = {*proposed_persons, *connection.execute(linked).scalars()}
    if same := sorted(set(deciding) & proposing):
        raise NotAuthorised(
            f"{command}: {actor.name} may be {', '.join(same)}, who {did}; somebody else has to {takes}"
        )
    return deciding
