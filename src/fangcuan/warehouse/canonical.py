"""Canonical relations as units see them on one night: withdrawn events gone, amended documents replaced, master data as known.

`raw` names are what a relation source puts there (`lake_trace_events`, `recorded_partners`, `steps_holding_steps`); the
bare contract names are the views made here.
"""

from __future__ import annotations

from fangcuan.core.contract import Relation
from fangcuan.core.feeds import FEEDS
from fangcuan.core.masters import DECIDED, MASTERS
from fangcuan.warehouse.custody import CUSTODY
from fangcuan.warehouse.engine import literal, quote

#: Beside the contract columns every event relation has these.
EVENT_EXTRAS = ("row_key", "event_date", "arrived_on")

#: What an empty `valid_from` means to units: before anything they can be asked about.
SINCE_EVER = "1900-01-01"

#: Things whose custody once rested on an event that was withdrawn since: epc, event_id, arrived_on (of the withdrawal).
WITHDRAWN_STEPS = "withdrawn_steps"

_NOT_WITHDRAWN = "not exists (from withdrawals w where w.event_id = e.event_id)"


def needs(name: str) -> tuple[str, ...]:
    """Canonical relations that the view of `name` reads."""
    if name == WITHDRAWN_STEPS:
        return ("withdrawals", "holding_steps", "containment_steps")
    if name == "trace_events" or (name in CUSTODY and name != "withdrawals"):
        return ("withdrawals",)
    return ()


def event_view(relation: Relation) -> str:
    """SQL of one event relation over `lake_<name>`."""
    raw = f"lake_{relation.name}"
    if relation.name == "trace_events":
        # A statement that only withdraws carries no step of its own.
        return (
            f"select e.* from {raw} e where {_NOT_WITHDRAWN} and coalesce(e.corrects_event_id, '') <> e.event_id "
            "and not (e.corrects_event_id is not null and e.biz_step is null and e.action is null)"
        )
    if relation.name == "sales":
        # All lines of a document stand or fall together: the version recorded last is the document. Lines that say nothing of
        # when they were recorded are the first version, so only documents with a recorded line need to be looked up.
        return (
            f"select e.* from {raw} e left join (select source_id, document_ref, max(recorded_at) as latest_at from {raw} "
            "where document_ref is not null and recorded_at is not null group by source_id, document_ref) v "
            "on v.document_ref = e.document_ref and v.source_id is not distinct from e.source_id "
            "where v.latest_at is null or coalesce(e.recorded_at = v.latest_at, false)"
        )
    return f"select * from {raw}"


def custody_view(name: str) -> str:
    """SQL of one maintained relation over `steps_<name>`."""
    where = "" if name == "withdrawals" else f" where {_NOT_WITHDRAWN}"
    return f"select e.* from steps_{name} e{where}"


def withdrawn_steps_view() -> str:
    """SQL of `withdrawn_steps` over the raw steps."""
    return (
        "select h.epc, h.event_id, w.arrived_on from steps_holding_steps h join withdrawals w using (event_id) "
        "union select c.child_epc, c.event_id, w.arrived_on from steps_containment_steps c join withdrawals w using (event_id)"
    )


def master_view(relation: Relation, night_end: str) -> str:
    """SQL of one master table as known at the end of the night (`night_end`: a UTC time, ISO 8601).

    `known_since` is when the brand came to know the row (1970 where it always did). An empty `valid_from` is told as
    SINCE_EVER, or `day >= valid_from` would be unknown and the row never in force; `given_from` has it as it was given.
    """
    columns = ", ".join(quote(name) for name in relation.column_names if name != "valid_from")
    if "valid_from" in relation:
        columns += f", coalesce(valid_from, date {literal(SINCE_EVER)}) as valid_from, valid_from as given_from"
    known_since = "coalesce(recorded_at, timestamptz '1970-01-01 00:00:00+00')"
    return (
        f"select {columns}, business_key as row_key, {known_since} as known_since from recorded_{relation.name} "
        f"where {known_since} <= timestamptz {literal(night_end)} "
        "qualify row_number() over (partition by business_key order by recorded_at desc nulls last, row_digest desc) = 1"
    )


def canonical_names() -> frozenset[str]:
    """Every relation a unit may read, facts and shared views apart. What may be done about a case is nothing to find it by."""
    return frozenset((*FEEDS, *MASTERS, *CUSTODY, WITHDRAWN_STEPS)) - DECIDED
