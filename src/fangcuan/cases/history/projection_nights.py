"""What nights reported, as their events add up: the part of the projection that is about findings and counters.

The event of a night holds a digest over its occurrences, and an occurrence the digest of the finding's row as that night
reported it. So a row that was altered is named without an event for each finding of each night.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from fangcuan.cases.history.digests import CONTRACT_COLUMNS, night_digest, row_digest
from fangcuan.cases.history.problems import Problem
from fangcuan.core.canonical import digest, utc_text
from fangcuan.store.casework import filing_night, filing_unit_night, finding, finding_occurrence
from fangcuan.store.labels import suppression_hit

if TYPE_CHECKING:
    from fangcuan.cases.history.projection import Rebuilt

TABLES = (filing_night, filing_unit_night)
#: Rows fetched at a time.
CHUNK = 20_000
#: Columns that a finding's row and its latest occurrence share: where one differs, it is named.
_SHARED = tuple(name for name in CONTRACT_COLUMNS if name in finding_occurrence.c and name != "finding_id")
_OCCURRENCE = ("finding_id", "night", *_SHARED, "row_sha256", "state")
_AT = {name: at for at, name in enumerate(_OCCURRENCE)}
_FINDING = ("finding_id", "first_seen", "last_seen", "state", *CONTRACT_COLUMNS)
#: What filing makes of a finding that it neither files nor holds back: it leaves the state as it is.
_LEFT = "noted"

Body = Mapping[str, Any]


@dataclass
class Nights:
    """What the events say of each night, in the order in which they were filed; `silent` are nights filed before events told
    the counters of units.
    """

    filed: dict[str, list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    order: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    silent: set[str] = field(default_factory=set)
    filings: int = 0


def filed(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    night, nights = body["night"], rebuilt.nights
    nights.filings += 1
    nights.filed[night].append(data)
    nights.order[night].append(nights.filings)
    for row in data.get("suppressed", ()):
        rebuilt.rows[suppression_hit.name][(night, row["reported_id"])] = {"night": night, **row}
    total = rebuilt.rows[filing_night.name].setdefault((night,), {"night": night})
    for name, count in data["counts"].items():
        if name != "night":
            total[name] = total.get(name, 0) + count
    if "units" not in data:
        nights.silent.add(night)
        return
    for one in data["units"]:
        nothing = {"night": night, "unit_id": one["unit_id"], "cases": 0, "waiting": 0, "storm": False}
        unit = rebuilt.rows[filing_unit_night.name].setdefault((night, one["unit_id"]), nothing)
        unit["cases"] += one["cases"]
        unit["waiting"] += one["waiting"]
        unit["storm"] = unit["storm"] or one["storm"]


KINDS: dict[str, Callable[[Rebuilt, Body, Body], None]] = {"night.filed": filed}


def compare_occurrences(connection: Connection, nights: Nights) -> list[Problem]:
    """What each night reported, against the digests that its filing recorded."""
    problems = []
    table = finding_occurrence
    for (night,) in connection.exec_driver_sql(f"select distinct night from {table.name} order by night").all():
        if _plain(night) not in nights.filed:
            problems.append(_problem("row_invented", table.name, _plain(night)))
    for night, told in sorted(nights.filed.items()):
        day = dt.date.fromisoformat(night)
        last = told[-1]
        if "occurrences" in last:
            expected, found = last["occurrences"], night_digest(connection, day)
        elif len(told) == 1:
            columns = (table.c.reported_id, table.c.evidence_root, table.c.evidence_sha256)
            rows = connection.execute(table.select().with_only_columns(*columns).where(table.c.night == day)).all()
            expected = {"rows": last["findings"], "digest": last["digest"]}
            found = {"rows": len(rows), "digest": digest(sorted(list(row) for row in rows))}
        else:
            expected = {"rows": sum(one["findings"] for one in told)}
            query = f"select count(*) from {table.name} where night = '{day.isoformat()}'"
            found = {"rows": connection.exec_driver_sql(query).scalar()}
        for name in ("rows", "digest"):
            if expected.get(name) != found.get(name):
                problems.append(_differs(table.name, night, name, found.get(name), expected.get(name)))
                break
    return problems


def compare_findings(connection: Connection, nights: Nights, most: int) -> tuple[int, list[Problem]]:
    """Rows of findings compared, and the first `most` differences: each row against what its occurrences say of it.

    The contract columns are those of the latest occurrence by night, end of window and identity; for one from before there
    were digests of rows, the columns that it holds itself. Both tables are read once, in order.
    """
    reported = _read(
        connection, finding_occurrence.name, _OCCURRENCE, ("finding_id", "night", "window_end", "reported_id")
    )
    stored = _read(connection, finding.name, _FINDING, ("finding_id",))
    groups = ((finding_id, list(rows)) for finding_id, rows in groupby(reported, key=itemgetter(0)))
    problems: list[Problem] = []
    compared = 0
    group = next(groups, None)
    for row in stored:
        compared += 1
        while group is not None and group[0] < row[0]:
            problems.append(_problem("row_missing", finding.name, group[0]))
            group = next(groups, None)
        if group is None or group[0] != row[0]:
            problems.append(_problem("row_invented", finding.name, row[0]))
        else:
            problems += _differences(row, group[1], nights)
            group = next(groups, None)
        if len(problems) >= most:
            return compared, problems
    while group is not None:
        problems.append(_problem("row_missing", finding.name, group[0]))
        group = next(groups, None)
    return compared, problems


def _differences(row: Sequence[Any], occurrences: Sequence[Sequence[Any]], nights: Nights) -> Iterator[Problem]:
    values = dict(zip(_FINDING, row, strict=True))
    last = occurrences[-1]
    expected = {name: last[_AT[name]] for name in _SHARED}
    expected |= {"first_seen": occurrences[0][_AT["night"]], "last_seen": last[_AT["night"]]}
    named = False
    for name, value in expected.items():
        if values[name] != value:
            named = True
            yield _differs(finding.name, row[0], name, values[name], value)
    recorded = last[_AT["row_sha256"]]
    if not named and recorded is not None:
        found = row_digest(row[len(_FINDING) - len(CONTRACT_COLUMNS) :])
        if found != recorded:
            yield _differs(finding.name, row[0], "sha256 of the row", found, recorded)
    states = _possible_states(occurrences, nights)
    if states and values["state"] not in states:
        yield _differs(finding.name, row[0], "state", values["state"], " or ".join(sorted(states)))


def _possible_states(occurrences: Iterable[Sequence[Any]], nights: Nights) -> set[str]:
    """What the latest filing that said anything made of a finding; empty where that is not known.

    A night that was filed several times, with another one in between, leaves open which filing spoke last: then more than one
    state is possible.
    """
    told = []
    for one in occurrences:
        state, order = one[_AT["state"]], nights.order.get(one[_AT["night"]])
        if order is None:
            return set()
        if state != _LEFT:
            told.append((order[0], order[-1], state))
    if not told:
        return {_LEFT}
    newest = max(first for first, _, _ in told)
    states = {state for _, last, state in told if last >= newest}
    return set() if None in states else states


def _read(
    connection: Connection, table: str, columns: Sequence[str], order: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """Rows of a table in the spelling of the events, ordered as Python orders text."""
    plain = {"night", "window_end"}
    collated = ' collate "C"' if connection.dialect.name == "postgresql" else ""
    by = ", ".join(name if name in plain else f"{name}{collated}" for name in order)
    query = f"select {', '.join(columns)} from {table} order by {by}"
    for row in connection.exec_driver_sql(query, execution_options={"yield_per": CHUNK}):
        yield tuple(map(_plain, row))


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return utc_text(value)
    return value.isoformat() if isinstance(value, dt.date) else value


def _differs(table: str, row: str, name: str, found: Any, expected: Any) -> Problem:
    return _problem("row_differs", table, row, field=name, found=_shown(found), expected=_shown(expected))


def _shown(value: Any) -> Any:
    return "nothing" if value is None else value


def _problem(kind: str, table: str, row: Any, **more: Any) -> Problem:
    return Problem(kind, {"table": table, "row": str(row), **more}, field=more.get("field"))
