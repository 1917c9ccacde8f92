"""Policies as their events add up: proposals with what was decided, and the versions that approvals wrote into master tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, select

from fangcuan.cases.history.problems import Problem
from fangcuan.cases.policies.versions import DECISIONS, receipt_of
from fangcuan.core.masters import DECIDED, MASTERS
from fangcuan.store.masters import MASTER_TABLES, business_key, content_digest, version_digest
from fangcuan.store.policies import BY_PROPOSAL, CASEBOOK, policy_proposal

if TYPE_CHECKING:
    from fangcuan.cases.history.projection import Rebuilt

TABLES = (policy_proposal,)
#: Compared by the sha256 of what is stored: the events hold no more.
DIGESTED = frozenset({(policy_proposal.name, "content")})

#: What a value of the wrong type or spelling raises when it is read.
_UNREADABLE = (ValueError, TypeError, ArithmeticError)

Body = Mapping[str, Any]


def proposed(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    row = {name: data[name] for name in ("proposal", "kind", "content_digest", "base", "note")}
    row |= {"content": data["content_digest"], "proposed_by": body["actor"], "proposed_at": body["recorded_at"]}
    row |= {"proposed_persons": data["persons"], "decision": None, "reason": None}
    row |= {"decided_by": None, "decided_persons": None, "decided_at": None}
    rebuilt.rows[policy_proposal.name][(row["proposal"],)] = row


def decided(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    row = rebuilt.rows[policy_proposal.name][(data["proposal"],)]
    row |= {"decision": data["decision"], "reason": data["reason"], "decided_persons": data["persons"]}
    row |= {"decided_by": body["actor"], "decided_at": body["recorded_at"]}
    for row_digest in data.get("versions", ()):
        rebuilt.versions[data["kind"]][row_digest] = data["proposal"]


KINDS: dict[str, Callable[[Rebuilt, Body, Body], None]] = {
    "policy.proposed": proposed,
    **dict.fromkeys(DECISIONS.values(), decided),
}


def compare_versions(connection: Connection, rebuilt: Rebuilt, present: set[str]) -> Iterator[Problem]:
    """What approvals wrote, against what is there: versions that are gone, that say something else, or that nobody approved.

    Rows that sources loaded stand in their receipts and are no case work; tables that no source may load hold approved rows only.
    """
    for name, table in MASTER_TABLES.items():
        if table.name not in present:
            continue
        left = dict(rebuilt.versions[name])
        mine = table.c.source_id == CASEBOOK
        mine |= table.c.receipt_id.startswith(BY_PROPOSAL)
        if left:
            mine |= table.c.row_digest.in_(sorted(left))
        query = select(table).order_by(table.c.business_key, table.c.row_digest)
        try:
            for row in connection.execute(query if name in DECIDED else query.where(mine)).mappings():
                proposal = left.pop(row["row_digest"], None)
                if proposal is None:
                    yield _problem("row_invented", table, row["business_key"], row["row_digest"])
                else:
                    yield from _differences(name, table, dict(row), proposal)
        except _UNREADABLE as error:
            shown = {"field": "a value", "found": str(error), "expected": "one that can be read"}
            yield _problem("row_differs", table, "", "", **shown)
            continue
        for row_digest in sorted(left):
            yield _problem("row_missing", table, receipt_of(left[row_digest]), row_digest)


def _differences(name: str, table: Table, row: Mapping[str, Any], proposal: int) -> Iterator[Problem]:
    relation = MASTERS[name]
    found = {
        # The digest is over every column of the contract and the moment of recording.
        "row_digest": version_digest(content_digest(relation, row), row["recorded_at"]),
        "business_key": business_key(relation, row),
        "source_id": CASEBOOK,
        "receipt_id": receipt_of(proposal),
    }
    for column, value in found.items():
        if row[column] != value:
            shown = {"field": column, "found": row[column], "expected": value}
            yield _problem("row_differs", table, row["business_key"], row["row_digest"], **shown)
            return


def _problem(kind: str, table: Table, key: str, row_digest: str, **more: Any) -> Problem:
    shown = {"table": table.name, "row": f"{key} {row_digest[:12]}", **more}
    return Problem(kind, shown, field=more.get("field"))
