"""Row rules of a relation, each one an expectation, and the data frame they are asked of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fangcuan.core.contract import Column, Relation
from fangcuan.ingest.source import ColumnExpect, Expect

MISSING = "missing"
VOCABULARY = "not_in_vocabulary"
RANGE = "out_of_range"
PATTERN = "pattern"
UNKNOWN = "unknown_reference"
FUTURE = "in_the_future"

_MISSING_COLUMN = "_mandatory values missing"
_UNKNOWN_COLUMN = "_references unknown"


@dataclass(frozen=True)
class Ask:
    """One expectation: its type in Great Expectations and its arguments."""

    type: str
    arguments: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Rule:
    """One row rule. `kind` is the reason code of a row that breaks it."""

    name: str
    column: str
    kind: str
    expected: str
    expectation: Ask


@dataclass(frozen=True)
class Frame:
    """What one chunk is asked: `table` with the columns of the screening expectations, and `behind`, the rules that each of
    them stands for."""

    table: pd.DataFrame
    screening: Mapping[str, Ask]
    behind: Mapping[str, tuple[Rule, ...]]
    contract: pa.Table
    references: Mapping[str, frozenset[str]]
    targets: Mapping[str, str]

    def detail(self, rules: list[Rule]) -> pd.DataFrame:
        """The columns that these rules look at, row numbers as index."""
        columns: dict[str, pa.ChunkedArray | pa.Array] = {}
        for rule in rules:
            values = self.contract.column(rule.column)
            if rule.kind == UNKNOWN:
                columns[_known_name(rule.column)] = _known(values, self.references[self.targets[rule.column]])
            else:
                columns[rule.column] = _comparable(values)
        return _to_pandas(columns)


def rules_of(
    relation: Relation, expect: Expect, references: Mapping[str, frozenset[str]], night_end: dt.datetime | None
) -> tuple[Rule, ...]:
    """Every row rule of a relation for one source and night."""
    rules: list[Rule] = []
    for column in relation.columns:
        rules += _contract_rules(column, references, night_end)
        if column.name in expect.columns:
            rules += _expected_rules(column, expect.columns[column.name])
    return tuple(rules)


def _contract_rules(
    column: Column, references: Mapping[str, frozenset[str]], night_end: dt.datetime | None
) -> list[Rule]:
    name = column.name
    rules = []
    if column.required:
        ask = Ask("expect_column_values_to_not_be_null", (("column", name),))
        rules.append(Rule(f"{name} is given", name, MISSING, "a value", ask))
    if column.values:
        rules.append(_set_rule(f"{name} is of the vocabulary", name, column.values))
    if column.minimum is not None or column.maximum is not None:
        rules.append(_range_rule(f"{name} is in its range", name, column.minimum, column.maximum))
    if column.not_future and night_end is not None:
        rules.append(_future_rule(column, night_end))
    if column.references is not None and column.references in references:
        ask = Ask("expect_column_values_to_be_in_set", (("column", _known_name(name)), ("value_set", (True,))))
        rules.append(Rule(f"{name} is in {column.references}", name, UNKNOWN, f"a value of {column.references}", ask))
    return rules


def _expected_rules(column: Column, promise: ColumnExpect) -> list[Rule]:
    name = column.name
    rules = []
    if promise.values:
        rules.append(_set_rule(f"{name} is as the source expects", name, promise.values))
    if promise.minimum is not None or promise.maximum is not None:
        rules.append(_range_rule(f"{name} is in the source's range", name, promise.minimum, promise.maximum))
    if promise.pattern is not None:
        ask = Ask("expect_column_values_to_match_regex", (("column", name), ("regex", f"^(?:{promise.pattern})$")))
        rules.append(Rule(f"{name} matches the source's pattern", name, PATTERN, f"text like {promise.pattern}", ask))
    return rules


def _set_rule(rule: str, name: str, values: tuple[str, ...]) -> Rule:
    ask = Ask("expect_column_values_to_be_in_set", (("column", name), ("value_set", values)))
    return Rule(rule, name, VOCABULARY, f"one of {', '.join(values)}", ask)


def _range_rule(rule: str, name: str, minimum: float | None, maximum: float | None) -> Rule:
    bounds = [("min_value", minimum), ("max_value", maximum)]
    ask = Ask(
        "expect_column_values_to_be_between",
        (("column", name), *((key, bound) for key, bound in bounds if bound is not None)),
    )
    words = [
        f"at least {minimum:g}" if minimum is not None else "",
        f"at most {maximum:g}" if maximum is not None else "",
    ]
    return Rule(rule, name, RANGE, " and ".join(word for word in words if word), ask)


def _future_rule(column: Column, night_end: dt.datetime) -> Rule:
    """Times before the night's end; dates up to the last local day that began before it."""
    if column.kind == "date":
        last = (night_end - dt.timedelta(microseconds=1)).date()
        bound = dt.datetime(last.year, last.month, last.day, tzinfo=dt.UTC)
        ask = Ask("expect_column_values_to_be_between", (("column", column.name), ("max_value", bound)))
        return Rule(f"{column.name} is not in the future", column.name, FUTURE, f"{last} or before", ask)
    arguments = (("column", column.name), ("max_value", night_end.astimezone(dt.UTC)), ("strict_max", True))
    ask = Ask("expect_column_values_to_be_between", arguments)
    return Rule(f"{column.name} is not in the future", column.name, FUTURE, f"before {night_end.isoformat()}", ask)


def gate_frame(contract: pa.Table, rules: tuple[Rule, ...], references: Mapping[str, frozenset[str]]) -> Frame:
    """What to ask of a chunk. Mandatory values share one question and references another; a rule about values of a column
    that is wholly null has nothing to look at and is not asked."""
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    screening: dict[str, Ask] = {}
    behind: dict[str, tuple[Rule, ...]] = {}
    targets = {rule.column: rule.expected.removeprefix("a value of ") for rule in rules if rule.kind == UNKNOWN}
    missing = [rule for rule in rules if rule.kind == MISSING]
    if missing:
        nulls = [
            pc.is_null(contract.column(rule.column)) for rule in missing if contract.column(rule.column).null_count
        ]
        columns[_MISSING_COLUMN] = _any(nulls, contract.num_rows)
        screening[_MISSING_COLUMN] = _never(_MISSING_COLUMN)
        behind[_MISSING_COLUMN] = tuple(rule for rule in missing if contract.column(rule.column).null_count)
    asked = [
        rule for rule in rules if rule.kind != MISSING and contract.column(rule.column).null_count < contract.num_rows
    ]
    unknown = [rule for rule in asked if rule.kind == UNKNOWN]
    if unknown:
        marks = [pc.invert(_known(contract.column(rule.column), references[targets[rule.column]])) for rule in unknown]
        columns[_UNKNOWN_COLUMN] = _any([pc.fill_null(mark, False) for mark in marks], contract.num_rows)
        screening[_UNKNOWN_COLUMN] = _never(_UNKNOWN_COLUMN)
        behind[_UNKNOWN_COLUMN] = tuple(unknown)
    for rule in asked:
        if rule.kind != UNKNOWN:
            columns[rule.column] = _comparable(contract.column(rule.column))
            screening[rule.name] = rule.expectation
            behind[rule.name] = (rule,)
    return Frame(_to_pandas(columns), screening, behind, contract, references, targets)


def _never(column: str) -> Ask:
    return Ask("expect_column_values_to_be_in_set", (("column", column), ("value_set", (False,))))


def _known_name(column: str) -> str:
    return f"{column} is known"


def _any(masks: list[Any], rows: int) -> pa.ChunkedArray | pa.Array:
    if not masks:
        return pa.repeat(pa.scalar(False), rows)
    found = masks[0]
    for mask in masks[1:]:
        found = pc.or_(found, mask)
    return found


def _known(values: pa.ChunkedArray, vocabulary: frozenset[str]) -> pa.ChunkedArray:
    """Per row whether a value is in the vocabulary, null where the value is null. Asks once per distinct value."""
    encoded = values.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks() if encoded.num_chunks != 1 else encoded.chunk(0)
    answers = pa.array([value in vocabulary for value in encoded.dictionary.to_pylist()], pa.bool_())
    return pa.chunked_array([answers.take(encoded.indices)])


def _comparable(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as Great Expectations compares them fast: decimals as floats (bounds are never finer), dates as midnights UTC
    (times without a zone it compares one by one)."""
    if pa.types.is_decimal(values.type) or pa.types.is_integer(values.type):
        return pc.cast(values, pa.float64(), safe=False)
    if pa.types.is_date(values.type):
        return pc.cast(values, pa.timestamp("us", "UTC"))
    return values


def _to_pandas(columns: Mapping[str, Any]) -> pd.DataFrame:
    return pa.table(dict(columns)).to_pandas(split_blocks=True, self_destruct=False)
