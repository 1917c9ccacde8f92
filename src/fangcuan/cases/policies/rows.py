"""Rows of policies: what may stand in them, how they are kept as text, and how they differ from what is known."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, select

from fangcuan.cases.policies.jurisdictions import of_code
from fangcuan.cases.policies.notices import notices
from fangcuan.cases.refusals import GuardFailed
from fangcuan.core.canonical import decimal_text, plain
from fangcuan.core.contract import Column, Relation
from fangcuan.core.masters import BY_APPROVAL, MASTERS
from fangcuan.store.masters import MASTER_TABLES, business_key
from fangcuan.store.policies import CASEBOOK

#: Steps of a penalty ladder whose `amount` is money, a share, or a multiple or number of months.
_MONEY = frozenset({"buy_back", "fine_fixed", "fine_per_unit"})
_PERCENT = frozenset({"rebate_withheld_pct", "bonus_withheld_pct", "deposit_cut_pct", "volume_cut_pct"})
_NUMBER = frozenset({"fine_multiple_of_price", "observation_months"})
#: Where a notice in words of one's own could make an agreement of a policy.
UNILATERAL = ("US", "price", "notify")


@dataclass(frozen=True)
class RowProblem:
    """One thing wrong: `position` as the file has it (`row 3`), the column, and what is wrong and expected."""

    position: str
    column: str
    message: str

    def __str__(self) -> str:
        return (
            f"{self.position}, column {self.column}: {self.message}"
            if self.column
            else f"{self.position}: {self.message}"
        )


class PolicyInvalid(GuardFailed):
    """Rows that break the contract; nothing of them was stored. `problems` has every one of them."""

    def __init__(self, kind: str, problems: Sequence[RowProblem]):
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{kind}: {len(problems)} problems, nothing was proposed\n{lines}")


def proposable(relation: Relation) -> Relation:
    """The relation as somebody proposes it: without the columns that the approval fills in."""
    columns = tuple(column for column in relation.columns if column.name not in BY_APPROVAL)
    key = tuple(name for name in relation.key if name not in BY_APPROVAL)
    return Relation(name=relation.name, kind="master", columns=columns, key=key, about=relation.about)


def stored(relation: Relation, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON keeps it: money, big integers and dates as text."""
    return {name: plain(row.get(name)) for name in proposable(relation).column_names}


def typed(relation: Relation, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row that `stored` wrote down, in the types of its table."""
    return {column.name: _typed(column, row[column.name]) for column in proposable(relation).columns}


def _typed(column: Column, value: Any) -> Any:
    if value is None or not isinstance(value, str):
        return value
    if column.kind in ("decimal", "rate"):
        return Decimal(value)
    if column.kind == "integer":
        return int(value)
    if column.kind == "date":
        return dt.date.fromisoformat(value)
    return dt.datetime.fromisoformat(value) if column.kind == "timestamp" else value


def problems_of(kind: str, rows: Sequence[Mapping[str, Any]], positions: Sequence[str] = ()) -> list[RowProblem]:
    """What is wrong with typed rows: what the contract asks of each, what its kind of policy asks, keys that stand twice."""
    relation = proposable(MASTERS[kind])
    found: list[RowProblem] = []
    seen: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        position = positions[number - 1] if positions else f"row {number}"
        wrong = [*_of_contract(relation, row)]
        wrong = wrong or [*_of_policy(kind, row)]
        found += [RowProblem(position, column, message) for column, message in wrong]
        if not wrong:
            key = business_key(relation, row)
            if key in seen:
                found.append(RowProblem(position, "", f"the key {key} stands in {seen[key]} as well; expected once"))
            seen.setdefault(key, position)
    return found


def _of_contract(relation: Relation, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted(set(row) - set(relation.column_names)):
        yield name, f"{relation.name} has no such column; it has {', '.join(relation.column_names)}"
    for column in relation.columns:
        value = row.get(column.name)
        if value is None:
            if column.required and column.default is None:
                yield column.name, "is missing"
        elif column.values and value not in column.values:
            yield column.name, f"{value!r}; expected one of {', '.join(column.values)}"
        elif column.minimum is not None and value < column.minimum:
            yield column.name, f"{value}; expected at least {column.minimum:g}"
        elif column.maximum is not None and value > column.maximum:
            yield column.name, f"{value}; expected at most {column.maximum:g}"


def _of_policy(kind: str, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What one column alone cannot show."""
    start, end = row.get("valid_from"), row.get("valid_to")
    if start is not None and end is not None and end < start:
        yield "valid_to", f"{end} is before valid_from {start}; equal days mean that it never holds"
    if kind == "price_policies" and row.get("ceiling") is not None and row["ceiling"] < row["floor"]:
        yield "ceiling", f"{_money(row['ceiling'])} is below the floor {_money(row['floor'])}"
    if kind == "promotions" and row["effect"] == "floor":
        yield from (
            (name, "is missing; a promotion with a floor names it")
            for name in ("floor", "currency")
            if row.get(name) is None
        )
    if kind == "rebate_plans":
        yield from _of_rebate(row)
    if kind == "penalty_ladders":
        yield from _of_step(row)
    if kind == "legal_gate":
        yield from _of_gate(row)


def _of_rebate(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if row["period_end"] <= row["period_start"]:
        yield "period_end", f"{row['period_end']} is not after period_start {row['period_start']}"
    lists = {name: json.loads(row[name]) for name in ("thresholds", "rates")}
    for name, value in lists.items():
        if not isinstance(value, list) or not all(isinstance(one, int | float | str) for one in value) or not value:
            yield name, f"{row[name]}; expected a JSON array of numbers"
            return
    if len(lists["thresholds"]) != len(lists["rates"]):
        yield "rates", f"{len(lists['rates'])} rates for {len(lists['thresholds'])} thresholds"


def _of_step(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    step, amount = row["step"], row.get("amount")
    if step in _MONEY | _PERCENT | _NUMBER and amount is None:
        yield "amount", f"is missing; {step} needs one"
    if step in _PERCENT and amount is not None and amount > 100:
        yield "amount", f"{_money(amount)}; expected at most 100 percent"
    if (step in _MONEY or row.get("cap") is not None) and row.get("currency") is None:
        yield "currency", "is missing; an amount or a cap of money has one"


def _of_gate(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    where, template = row["jurisdiction"], row.get("template")
    if of_code(where) != where:
        expected = of_code(where) or "an ISO 3166-1 code, EU or UK"
        yield "jurisdiction", f"{where!r}; expected {expected}"
    if template is not None and template not in notices():
        yield "template", f"{template!r}; expected one of {', '.join(notices())}"
    if (where, row["family"], row["action"]) == UNILATERAL and row["allowed"] and template is None:
        yield "template", "is missing; there everyone is told in the same words"


def _money(value: Decimal) -> str:
    return decimal_text(value)


def latest(connection: Connection, kind: str, keys: Sequence[str]) -> dict[str, Row[Any]]:
    """business key → the version recorded last, for those of the keys that were ever recorded."""
    table = MASTER_TABLES[kind]
    found: dict[str, Row[Any]] = {}
    for start in range(0, len(keys), 500):
        part = table.c.business_key.in_(list(keys[start : start + 500]))
        newest = (table.c.business_key, table.c.recorded_at.desc().nulls_last(), table.c.row_digest.desc())
        for row in connection.execute(select(table).where(part).order_by(*newest)):
            found.setdefault(row.business_key, row)
    return found


def difference(kind: str, row: Mapping[str, Any], before: Mapping[str, Any] | None, *, amends: bool) -> dict[str, Any]:
    """One row against the version it replaces: `added` where there is none, `amends` the same key, else `follows` an earlier one.

    `changes` has [before, after] of each column that differs; `loaded_by` the source that brought the version before, whose
    next file may bring it back.
    """
    names = proposable(MASTERS[kind]).column_names
    now = {name: plain(row.get(name)) for name in names}
    if before is None:
        return {
            "key": business_key(MASTERS[kind], row),
            "change": "added",
            "row": now,
            "changes": {},
            "loaded_by": None,
        }
    was = {name: plain(before[name]) for name in names}
    return {
        "key": business_key(MASTERS[kind], row),
        "change": "amends" if amends else "follows",
        "row": now,
        "changes": {name: [was[name], now[name]] for name in names if was[name] != now[name]},
        "loaded_by": None if before["source_id"] == CASEBOOK else before["source_id"],
    }
