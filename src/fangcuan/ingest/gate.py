"""The gate: Great Expectations suites generated from the contract and from what a source expects.

Every mapped chunk is checked in two passes. A *screening* suite asks few, wide questions of all rows; only where it finds
something does the *detail* suite ask every rule that may be broken, one expectation each, for the rows at fault. Rows that break
a rule go to quarantine with every rule they broke; `judge` decides from the whole batch whether it may be loaded.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fangcuan.core.contract import Relation
from fangcuan.ingest.base import POSITION, PROBLEMS
from fangcuan.ingest.expectations import Found, validate
from fangcuan.ingest.mapping import VALUE_LIMIT, MappedChunk
from fangcuan.ingest.rules import MISSING, UNKNOWN, Rule, gate_frame, rules_of
from fangcuan.ingest.source import Expect

#: Rows checked at a time; bounds the memory of a check.
CHECK_ROWS = 250_000

BAD_SCHEMA = pa.schema([("position", pa.string()), ("reasons", pa.string()), ("raw", pa.string())])


@dataclass
class RuleCount:
    """How one rule fared: rows it looked at (nulls are not looked at unless it is about them) and rows that broke it."""

    rule: str
    column: str | None
    kind: str
    expected: str
    looked_at: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: RuleCount) -> None:
        self.looked_at += other.looked_at
        self.broken += other.broken
        self.examples = list(dict.fromkeys(self.examples + other.examples))[:5]


@dataclass
class Statistics:
    """Counts of one chunk, or of a batch after `add`: rows in = good + quarantined; `skipped` did not meet `where`."""

    rows: int = 0
    good: int = 0
    quarantined: int = 0
    skipped: int = 0
    newest: dt.datetime | None = None
    oldest: dt.datetime | None = None
    rules: dict[str, RuleCount] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)

    def add(self, other: Statistics) -> None:
        """Add the counts of another chunk of the same batch."""
        self.rows += other.rows
        self.good += other.good
        self.quarantined += other.quarantined
        self.skipped += other.skipped
        self.newest = max((t for t in (self.newest, other.newest) if t), default=None)
        self.oldest = min((t for t in (self.oldest, other.oldest) if t), default=None)
        for name, count in other.rules.items():
            mine = self.rules.setdefault(name, RuleCount(count.rule, count.column, count.kind, count.expected))
            mine.add(count)
        for reason, number in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + number
        self.unchecked = sorted({*self.unchecked, *other.unchecked})

    def summary(self) -> dict[str, Any]:
        """Plain JSON of these counts, for receipts and `gate_report`."""
        return {
            "rows": self.rows,
            "good": self.good,
            "quarantined": self.quarantined,
            "skipped": self.skipped,
            "newest": self.newest.isoformat() if self.newest else None,
            "oldest": self.oldest.isoformat() if self.oldest else None,
            "reasons": dict(sorted(self.reasons.items())),
            "unchecked": self.unchecked,
            "rules": [
                {
                    "rule": count.rule,
                    "column": count.column,
                    "kind": count.kind,
                    "expected": count.expected,
                    "looked_at": count.looked_at,
                    "broken": count.broken,
                    "examples": count.examples,
                }
                for count in self.rules.values()
            ],
        }


@dataclass(frozen=True)
class GateResult:
    """`good`: contract columns of rows that keep every rule. `bad`: position, reasons (JSON list of {reason, column, value,
    expected}) and the raw row (JSON object of the source's own columns) of every other. Order is kept in both."""

    good: pa.Table
    bad: pa.Table
    statistics: Statistics

    def summary(self) -> dict[str, Any]:
        return self.statistics.summary()


@dataclass(frozen=True)
class Verdict:
    """`held`: nothing of the batch is loaded; `reasons` are {reason, message} each."""

    state: Literal["passed", "held"]
    reasons: tuple[dict[str, str], ...] = ()


class Gate:
    """Checks rows of one relation. `references` maps `products.sku` and the like to the values known that night; a reference
    without an entry is not checked and said so. `night_end` (aware, in the brand's zone) is the end of the night: what
    happened at or after it is in the future."""

    def __init__(
        self,
        relation: Relation,
        expect: Expect | None = None,
        references: Mapping[str, frozenset[str]] | None = None,
        night_end: dt.datetime | None = None,
    ):
        if night_end is not None and night_end.tzinfo is None:
            raise ValueError(f"night_end has no time zone: {night_end!r}")
        self._relation = relation
        self._references = references or {}
        self._rules = rules_of(relation, expect or Expect(), self._references, night_end)
        self._unchecked = sorted(
            f"{column.name} in {column.references}"
            for column in relation.columns
            if column.references and column.references not in self._references
        )

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self._rules

    def check(self, chunk: MappedChunk) -> GateResult:
        """Good and bad rows of a mapped chunk; every row is in exactly one of them."""
        table = chunk.table
        parts = [
            self._check(table.slice(at, CHECK_ROWS), chunk.raw.slice(at, CHECK_ROWS)) for at in _starts(table.num_rows)
        ]
        statistics = Statistics(skipped=chunk.skipped)
        for part in parts:
            statistics.add(part.statistics)
        return GateResult(
            pa.concat_tables([part.good for part in parts]), pa.concat_tables([part.bad for part in parts]), statistics
        )

    def _check(self, table: pa.Table, raw: pa.Table) -> GateResult:
        contract = table.select(list(self._relation.column_names))
        reasons: dict[int, list[dict[str, Any]]] = {}
        known = table.column(PROBLEMS)
        if known.null_count < len(known):
            reasons.update({at: json.loads(text) for at, text in enumerate(known.to_pylist()) if text})
        unparsed = {at: {problem.get("column") for problem in problems} for at, problems in reasons.items()}
        counts = self._counts(contract)
        for rule, found in self._broken(contract):
            self._note(rule, found, contract, reasons, unparsed, counts)
        bad_rows = pa.array(sorted(reasons), pa.int64())
        statistics = Statistics(
            rows=table.num_rows,
            good=table.num_rows - len(reasons),
            quarantined=len(reasons),
            rules=counts,
            unchecked=self._unchecked,
        )
        for problems in reasons.values():
            for reason in {f"{problem['reason']}:{problem.get('column') or '*'}" for problem in problems}:
                statistics.reasons[reason] = statistics.reasons.get(reason, 0) + 1
        good, bad = contract, BAD_SCHEMA.empty_table()
        if reasons:
            keep = np.ones(table.num_rows, dtype=bool)
            keep[bad_rows.to_numpy()] = False
            good = contract.filter(pa.array(keep))
            bad = self._bad(table, raw, bad_rows, reasons)
        statistics.newest, statistics.oldest = self._span(good)
        return GateResult(good, bad, statistics)

    def _broken(self, contract: pa.Table) -> Iterator[tuple[Rule, Found]]:
        """Rules that are broken, with the rows that break them."""
        frame = gate_frame(contract, self._rules, self._references)
        suspects: list[Rule] = []
        for name, success in validate(frame.table, frame.screening, detail=False).items():
            if success.broken:
                suspects += frame.behind[name]
        if suspects:
            found = validate(frame.detail(suspects), {rule.name: rule.expectation for rule in suspects}, detail=True)
            yield from ((rule, found[rule.name]) for rule in suspects if found[rule.name].broken)

    def _counts(self, contract: pa.Table) -> dict[str, RuleCount]:
        rows = contract.num_rows
        return {
            rule.name: RuleCount(
                rule.name,
                rule.column,
                rule.kind,
                rule.expected,
                rows if rule.kind == MISSING else rows - contract.column(rule.column).null_count,
            )
            for rule in self._rules
        }

    @staticmethod
    def _note(
        rule: Rule,
        found: Found,
        contract: pa.Table,
        reasons: dict[int, list[dict[str, Any]]],
        unparsed: Mapping[int, set[str | None]],
        counts: dict[str, RuleCount],
    ) -> None:
        # A value that could not be parsed is null: that it is missing says nothing new.
        rows = [at for at in found.rows if not (rule.kind == MISSING and rule.column in unparsed.get(at, ()))]
        values = pc.cast(contract.column(rule.column).take(pa.array(rows, pa.int64())), pa.string()).to_pylist()
        for at, value in zip(rows, values, strict=True):
            shown = None if value is None else value[:VALUE_LIMIT]
            reason = {"reason": rule.kind, "column": rule.column, "value": shown, "expected": rule.expected}
            reasons.setdefault(at, []).append(reason)
        count = counts[rule.name]
        count.broken += len(rows)
        count.examples = list(dict.fromkeys(value[:VALUE_LIMIT] for value in values[:1000] if value is not None))[:5]

    def _span(self, good: pa.Table) -> tuple[dt.datetime | None, dt.datetime | None]:
        """Newest and oldest event time of rows that may be loaded; a date counts as its midnight UTC."""
        if self._relation.time is None or not good.num_rows:
            return None, None
        found = pc.min_max(pc.cast(good.column(self._relation.time), pa.timestamp("us", "UTC"))).as_py()
        return found["max"], found["min"]

    @staticmethod
    def _bad(table: pa.Table, raw: pa.Table, rows: pa.Array, reasons: Mapping[int, list[dict[str, Any]]]) -> pa.Table:
        own = [name for name in raw.column_names if name not in (POSITION, PROBLEMS)]
        originals = raw.select(own).take(rows).to_pylist()
        return pa.table(
            {
                "position": table.column(POSITION).take(rows),
                "reasons": [json.dumps(reasons[at], ensure_ascii=False) for at in rows.to_pylist()],
                "raw": [json.dumps(row, ensure_ascii=False, default=_plain) for row in originals],
            },
            schema=BAD_SCHEMA,
        )


def judge(statistics: Statistics, expect: Expect | None, night_end: dt.datetime) -> Verdict:
    """Whether a whole batch may be loaded. A batch of which every row is quarantined is always held."""
    expect = expect or Expect()
    reasons: list[dict[str, str]] = []
    rows, (low, high) = statistics.rows, expect.rows
    if low is not None and rows < low:
        reasons.append({"reason": "too_few_rows", "message": f"{rows} rows; expected at least {low}"})
    if high is not None and rows > high:
        reasons.append({"reason": "too_many_rows", "message": f"{rows} rows; expected at most {high}"})
    share = 100 * statistics.quarantined / rows if rows else 0.0
    if expect.quarantine_pct is not None and share > expect.quarantine_pct:
        text = (
            f"{statistics.quarantined} of {rows} rows quarantined ({share:.2f} %); at most {expect.quarantine_pct:g} %"
        )
        reasons.append({"reason": "too_many_quarantined", "message": text})
    elif rows and statistics.quarantined == rows:
        reasons.append({"reason": "too_many_quarantined", "message": f"all {rows} rows quarantined"})
    if expect.max_age_days is not None and statistics.newest is not None:
        age = night_end - statistics.newest
        if age > dt.timedelta(days=expect.max_age_days):
            text = (
                f"newest event of {statistics.newest.isoformat()} is {age.days} days old; at most {expect.max_age_days}"
            )
            reasons.append({"reason": "stale", "message": text})
    return Verdict("held" if reasons else "passed", tuple(reasons))


def _starts(rows: int) -> range:
    return range(0, max(rows, 1), CHECK_ROWS)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.date | dt.datetime | dt.time) else str(value)


__all__ = ["BAD_SCHEMA", "UNKNOWN", "Gate", "GateResult", "RuleCount", "Statistics", "Verdict", "judge"]
