"""Opens, on one engine, exactly the relations a query needs: canonical relations, shared views and facts of earlier units."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, Protocol

from fangcuan.content.shared_sql import shared_views
from fangcuan.content.units import Rule
from fangcuan.core.canonical import utc_text
from fangcuan.core.feeds import FEEDS
from fangcuan.core.masters import MASTERS
from fangcuan.detect.sql import Query, SqlRefused, parsed
from fangcuan.settings import Settings
from fangcuan.warehouse.canonical import (
    WITHDRAWN_STEPS,
    canonical_names,
    custody_view,
    event_view,
    master_view,
    needs,
    withdrawn_steps_view,
)
from fangcuan.warehouse.custody import CUSTODY
from fangcuan.warehouse.engine import DuckEngine, quote

#: `since` of a unit that has never run: everything is new to it.
NEVER = dt.date(1900, 1, 1)


class RelationSource(Protocol):
    """Where the raw rows of one night come from: the lake and casebook, or the rows given in a rule's test."""

    def open_raw(self, engine: DuckEngine, name: str) -> None:
        """Make `lake_<name>`, `steps_<name>` or `recorded_<name>` of a canonical relation."""
        ...

    def open_fact(self, engine: DuckEngine, rule: Rule) -> None:
        """Make `rows_<rule.relation>`: all rows the fact has written up to this night, with column `fact_night`."""
        ...


def night_end(night: dt.date, settings: Settings) -> dt.datetime:
    """The first moment after the local date `night`, in UTC."""
    start = dt.datetime.combine(night + dt.timedelta(days=1), dt.time(), settings.zone)
    return start.astimezone(dt.UTC)


def night_parameters(night: dt.date, since: dt.date | None, settings: Settings) -> dict[str, Any]:
    """Parameters every query may name beside its own."""
    return {
        "night": night,
        "since": since or NEVER,
        "night_end": night_end(night, settings),
        "timezone": settings.timezone,
        "currency": settings.currency,
        "default_vat_rate": float(settings.default_vat_rate),
    }


class Night:
    """The relations of one night on one engine. Opening is lazy and transitive; a relation is opened once."""

    def __init__(
        self,
        engine: DuckEngine,
        source: RelationSource,
        facts: Mapping[str, Rule],
        parameters: Mapping[str, Any],
        *,
        known_until: dt.datetime | None = None,
    ):
        """`known_until`: master data recorded later is not seen; None: the end of the night."""
        self.engine = engine
        self._source = source
        self._facts = {rule.relation: rule for rule in facts.values()}
        self.parameters = dict(parameters)
        self._known_until = known_until or self.parameters["night_end"]
        self._opened: set[str] = set()

    def open(self, name: str) -> None:
        """Open one relation by the name units use. Raises SqlRefused for a name nobody declared."""
        if name in self._opened:
            return
        self._opened.add(name)
        if name in canonical_names():
            if name != WITHDRAWN_STEPS:
                self._source.open_raw(self.engine, name)
            for other in needs(name):
                self.open(other)
            self.engine.view(name, self._canonical(name))
        elif name in shared_views():
            self._open_shared(name)
        elif name in self._facts:
            self._open_fact(self._facts[name])
        else:
            raise SqlRefused(
                f"relation {name!r}", "a feed, master table, custody relation, shared view or fact", "name one"
            )

    def _canonical(self, name: str) -> str:
        if name in FEEDS:
            return event_view(FEEDS[name])
        if name in CUSTODY:
            return custody_view(name)
        if name == WITHDRAWN_STEPS:
            return withdrawn_steps_view()
        return master_view(MASTERS[name], utc_text(self._known_until))

    def _open_shared(self, name: str) -> None:
        text = shared_views()[name]
        query = parsed(text)
        for other in sorted(query.relations):
            self.open(other)
        sql = query.bind(self.parameters)
        # What several units or steps read is worth computing once.
        if numbered := re.match(r"-- kept, numbered by (\w+)\n", text):
            self.engine.numbered_table(name, numbered[1], sql)
        elif text.startswith("-- kept"):
            self.engine.table(name, sql)
        else:
            self.engine.view(name, sql)

    def _open_fact(self, rule: Rule) -> None:
        self._source.open_fact(self.engine, rule)
        rows = f"rows_{rule.relation}"
        key = ", ".join(quote(column) for column in rule.key)
        latest = f"select * from {rows} qualify row_number() over (partition by {key} order by fact_night desc) = 1"
        columns = {row["column_name"] for row in self.engine.rows(f"describe {rows}")}
        if "event_id" in columns:
            # A fact about an event that was withdrawn since is no fact any more.
            self.open("withdrawals")
            latest = f"select f.* from ({latest}) f where not exists (from withdrawals w where w.event_id = f.event_id)"
        self.engine.view(rule.relation, latest)

    def prepare(self, query: Query, parameters: Mapping[str, Any], step: str | None = None) -> str:
        """Open all that `query` reads and give its bound SQL."""
        for name in sorted(query.relations):
            self.open(name)
        return query.bind({**self.parameters, **parameters}, step)


def base_relations(query: Query, facts: Mapping[str, Rule]) -> frozenset[str]:
    """Event feeds a query rests on, through shared views and facts: what its coverage is about."""
    by_relation = {rule.relation: rule for rule in facts.values()}
    found: set[str] = set()
    seen: set[str] = set()
    stack = list(query.relations)
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in FEEDS:
            found.add(name)
        elif name in CUSTODY or name == WITHDRAWN_STEPS:
            found.add("trace_events")
        elif name in shared_views():
            stack.extend(parsed(shared_views()[name]).relations)
        elif name in by_relation:
            stack.extend(parsed(by_relation[name].query).relations)
    return frozenset(found)


def read_views(query: Query, facts: Mapping[str, Rule]) -> tuple[frozenset[str], frozenset[str]]:
    """(shared views, facts) a query reads, transitively through views; their text is part of a unit's digest."""
    by_relation = {rule.relation for rule in facts.values()}
    views: set[str] = set()
    read_facts: set[str] = set()
    stack = list(query.relations)
    while stack:
        name = stack.pop()
        if name in shared_views() and name not in views:
            views.add(name)
            stack.extend(parsed(shared_views()[name]).relations)
        elif name in by_relation:
            read_facts.add(name)
    return frozenset(views), frozenset(read_facts)
