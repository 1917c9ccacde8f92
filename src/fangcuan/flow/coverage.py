"""What was looked at: "no violation" told apart from "not looked", per unit and night."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, select

from fangcuan.core.canonical import digest
from fangcuan.store.catalogue import Pull
from fangcuan.store.database import read

#: Pull states after which nothing of a source was seen for the night.
UNSEEN = frozenset({"held", "refused", "unavailable", "missing"})


def night_coverage(
    engine: Engine, night: dt.date, since: dt.date | None, sources: Mapping[str, list[str]]
) -> dict[str, Any]:
    """State of every source that should have been pulled: {"night", "sources": {id: {"state", "relations"}}}.

    `sources` maps each configured source to the relations it feeds; one that was never asked is `missing`.
    """
    with read(engine) as connection:
        statement = select(Pull.source_id, Pull.state, Pull.relations, Pull.message).where(Pull.night == night)
        pulls = {row.source_id: row for row in connection.execute(statement)}
    found = {}
    for source_id in sorted({*sources, *pulls}):
        pull = pulls.get(source_id)
        relations = sources.get(source_id) or (pull.relations if pull else [])
        found[source_id] = {"state": pull.state if pull else "missing", "relations": sorted(relations)}
    return {"night": night.isoformat(), "since": since.isoformat() if since else None, "sources": found}


def unit_coverage(night: Mapping[str, Any], reads: frozenset[str]) -> dict[str, Any]:
    """The part of a night's coverage that a unit rests on, with `not_looked`: sources it should have seen and did not.

    `looked` is false when a relation the unit reads had sources and none of them was seen.
    """
    sources = {
        source_id: item["state"] for source_id, item in night["sources"].items() if reads & set(item["relations"])
    }
    blind = []
    for relation in sorted(reads):
        states = [item["state"] for item in night["sources"].values() if relation in item["relations"]]
        if states and all(state in UNSEEN for state in states):
            blind.append(relation)
    return {
        "night": night["night"],
        "reads": sorted(reads),
        "sources": sources,
        "not_looked": sorted(source_id for source_id, state in sources.items() if state in UNSEEN),
        "blind": blind,
        "looked": not blind,
    }


def coverage_id(coverage: Mapping[str, Any]) -> str:
    return digest(coverage)
