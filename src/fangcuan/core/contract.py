"""The canonical relations: the one contract between sources, gate, lake, casebook and detectors.

Every column is declared once, in `fangcuan.core.feeds` (events) and `fangcuan.core.masters` (master data); Arrow schemas,
gate suites, DuckDB tables, casebook tables and the reference documentation are derived from these objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "integer", "decimal", "rate", "double", "boolean", "timestamp", "date", "json"]

#: DuckDB type of each kind. Money and quantities are decimals: a parallel floating sum depends on the number of threads.
DUCKDB_TYPES: dict[Kind, str] = {
    "text": "varchar",
    "integer": "bigint",
    "decimal": "decimal(18,4)",
    # What money is multiplied by: an exchange rate has more places than any price.
    "rate": "decimal(18,8)",
    "double": "double",
    "boolean": "boolean",
    "timestamp": "timestamptz",
    "date": "date",
    "json": "varchar",
}


@dataclass(frozen=True)
class Column:
    """One column of a relation.

    `required` means a row without it is quarantined and a file without it is refused, unless `default` gives the value
    of an absent column. `values` is a closed vocabulary, `references` a column of another relation (`products.sku`)
    whose values are the only ones allowed.
    """

    name: str
    kind: Kind
    required: bool = False
    values: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    references: str | None = None
    default: str | None = None
    not_future: bool = False
    about: str = ""


@dataclass(frozen=True)
class Relation:
    """One relation of the contract.

    `key` is the idempotency key: a second row with the same key is a duplicate. Where it is empty the key is the
    content of the whole row. `time` is the column that gives the event date (events) and is null for master tables.
    """

    name: str
    kind: Literal["event", "master"]
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    time: str | None = None
    about: str = ""
    _by_name: dict[str, Column] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._by_name.update({column.name: column for column in self.columns})

    def __getitem__(self, name: str) -> Column:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.required and c.default is None)

    @property
    def content_columns(self) -> tuple[str, ...]:
        """Columns that say what happened: all but those the load itself fills (`source_id`)."""
        return tuple(name for name in self._by_name if name != "source_id")


def text(name: str, required: bool = False, **more: object) -> Column:
    return Column(name, "text", required, **more)  # type: ignore[arg-type]


def integer(name: str, required: bool = False, **more: object) -> Column:
    return Column(name, "integer", required, **more)  # type: ignore[arg-type]


def decimal(name: str, required: bool = False, **more: object) -> Column:
    return Column(name, "decimal", required, **more)  # type: ignore[arg-type]


def rate(name: str, required: bool = False, **more: object) -> Column:
    return Column(name, "rate", required, **more)  # type: ignore[arg-type]


def double(name: str, required: bool = False, **more: object) -> Column:
    return Column(name, "double", required, **more)  # type: ignore[arg-type]


def boolean(name: str, required: bool = False, **more: object) -> Column:
    return Column(name, "boolean", required, **more)  # type: ignore[arg-type]


def timestamp(name: str, required: bool = False, **more: object) -> Column:
    return Column(name, "timestamp", required, **more)  # type: ignore[arg-type]


def date(name: str, required: bool = False, **more: object) -> Column:
    return Column(name, "date", required, **more)  # type: ignore[arg-type]


def json(name: str, required: bool = False, **more: object) -> Column:
    return Column(name, "json", required, **more)  # type: ignore[arg-type]


def index(relations: Iterable[Relation]) -> dict[str, Relation]:
    """Relations by name; a name may stand once only."""
    found: dict[str, Relation] = {}
    for relation in relations:
        if relation.name in found:
            raise ValueError(f"relation {relation.name!r} is declared twice")
        found[relation.name] = relation
    return found
