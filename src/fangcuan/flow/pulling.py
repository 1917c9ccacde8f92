"""Ask one source for one night and load what it gives. What could not be looked at is recorded, never taken for clean."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, select

from fangcuan.core.contract import Relation
from fangcuan.core.failpoints import hit
from fangcuan.core.masters import MASTERS
from fangcuan.detect.relations import night_end
from fangcuan.flow.configured import sources, world_sources
from fangcuan.flow.installation import Installation
from fangcuan.ingest import connectors, secrets
from fangcuan.ingest.base import FetchContext, Refused, SourceUnavailable
from fangcuan.ingest.batch import load_document
from fangcuan.ingest.load import BatchReceipt, Loader, insert_new
from fangcuan.ingest.source import SourceSpec
from fangcuan.store.catalogue import Pull, Run, SourceState
from fangcuan.store.database import read, write
from fangcuan.store.masters import MASTER_TABLES

Progress = Callable[[str], None]


def pull_all(
    installation: Installation,
    night: dt.date,
    *,
    world: Path | None = None,
    progress: Progress = lambda message: None,
) -> Iterator[dict[str, Any]]:
    """Pull every source of the installation, or every file of a world folder, master data first."""
    specs = world_sources(world) if world else list(sources(installation).values())
    for spec in specs:
        yield pull_source(installation, spec, night, progress=progress)


def pull(installation: Installation, source_id: str, night: dt.date) -> dict[str, Any]:
    """Pull one configured source. Raises KeyError for an id the settings do not name."""
    return pull_source(installation, sources(installation)[source_id], night)


def pull_source(
    installation: Installation, spec: SourceSpec, night: dt.date, *, progress: Progress = lambda message: None
) -> dict[str, Any]:
    """Fetch and load the documents of one source that arrived by `night`; the result is also kept as a `pull` row.

    State: `landed`, `held` (a batch failed what the source promises), `refused` (a document was unreadable) or `unavailable`.
    """
    loader = Loader(installation.settings, installation.engine)
    known = References(installation)
    receipts: list[BatchReceipt] = []
    unavailable: str | None = None
    refused: str | None = None
    watermark = _state(installation, spec.id)
    first_open = first_open_night(installation)
    context = FetchContext(
        source_id=spec.id,
        night=night,
        folder=spec.folder,
        stage=installation.raw.stage,
        state=watermark,
        secrets=secrets.get,
        progress=progress,
    )
    connector = connectors.get(spec.connector.kind)
    end = night_end(night, installation.settings)
    try:
        for document in connector.fetch(spec.connector.options, context):
            hit("pull.after_stage")
            # What comes in after its night was judged is news of the next one.
            arrived = max(document.arrived_on, first_open) if first_open else document.arrived_on
            moved = replace(document, arrived_on=arrived)
            receipts += load_document(loader, spec, moved, known.of, end)
            watermark = connectors.merged_state(watermark, document.watermark)
    except SourceUnavailable as error:
        unavailable = str(error)
    except Refused as error:
        # What came was no document at all: there is nothing to keep a receipt of but the pull itself.
        refused = error.message
    state = _pull_state(receipts, unavailable, refused)
    message = (
        unavailable
        or refused
        or next((r.message for r in receipts if r.state in {"refused", "held"} and r.message), None)
    )
    _remember(installation, spec, night, state, message, receipts, watermark)
    return {
        "source_id": spec.id,
        "night": night.isoformat(),
        "state": state,
        "message": message,
        "documents": len({receipt.document.sha256 for receipt in receipts}),
        "rows_read": sum(receipt.rows_read for receipt in receipts),
        "rows_loaded": sum(receipt.rows_loaded for receipt in receipts),
        "rows_duplicate": sum(receipt.rows_duplicate for receipt in receipts),
        "rows_quarantined": sum(receipt.rows_quarantined for receipt in receipts),
    }


class References:
    """Values a gate may check references against: all that master data ever recorded. A table nobody filled is not checked."""

    def __init__(self, installation: Installation):
        self._engine = installation.engine
        self._known: dict[str, frozenset[str]] = {}

    def of(self, relation: Relation) -> Mapping[str, frozenset[str]]:
        wanted = {column.references for column in relation.columns if column.references}
        # A table's own column may refer to rows of the same batch (parents): those are not checked here.
        wanted = {reference for reference in wanted if not reference.startswith(f"{relation.name}.")}
        for reference in wanted - set(self._known):
            table, column = reference.split(".")
            with read(self._engine) as connection:
                values = connection.execute(select(MASTER_TABLES[table].c[column]).distinct()).scalars()
                self._known[reference] = frozenset(str(value) for value in values if value is not None)
        known = {reference: self._known[reference] for reference in wanted}
        if relation.name in MASTERS:
            self._known.clear()
        return {reference: values for reference, values in known.items() if values}


def _pull_state(receipts: list[BatchReceipt], unavailable: str | None, refused: str | None) -> str:
    if unavailable is not None:
        return "unavailable"
    if refused is not None:
        return "refused"
    states = {receipt.state for receipt in receipts}
    return next((state for state in ("refused", "held") if state in states), "landed")


def _state(installation: Installation, source_id: str) -> dict[str, Any]:
    with read(installation.engine) as connection:
        row = connection.execute(select(SourceState.watermark).where(SourceState.source_id == source_id)).first()
    return dict(row[0]) if row else {}


def first_open_night(installation: Installation) -> dt.date | None:
    """The night after the last judged one, None before any was judged."""
    with read(installation.engine) as connection:
        last = connection.execute(select(func.max(Run.night)).where(Run.state == "judged")).scalar_one_or_none()
    return last + dt.timedelta(days=1) if last else None


def _remember(
    installation: Installation,
    spec: SourceSpec,
    night: dt.date,
    state: str,
    message: str | None,
    receipts: list[BatchReceipt],
    watermark: Mapping[str, Any],
) -> None:
    now = dt.datetime.now(dt.UTC)
    relations: dict[str, int] = defaultdict(int)
    for feed in spec.feeds:
        relations[feed.relation] += 0
    documents = len({receipt.document.sha256 for receipt in receipts})
    pull_row = {
        "source_id": spec.id,
        "night": night,
        "state": state,
        "message": message,
        "documents": documents,
        "relations": sorted(relations),
        "recorded_at": now,
    }
    state_row = {"source_id": spec.id, "watermark": dict(watermark), "updated_at": now}
    pulls, states = Pull.__table__, SourceState.__table__
    assert isinstance(pulls, Table)
    assert isinstance(states, Table)
    with write(installation.engine) as connection:
        if not insert_new(connection, pulls, [pull_row]) and not (state == "landed" and not receipts):
            # Asking again is a better answer, unless it merely found that everything had been fetched before.
            connection.execute(
                pulls.update().where(pulls.c.source_id == spec.id, pulls.c.night == night).values(pull_row)
            )
        if not insert_new(connection, states, [state_row]):
            connection.execute(states.update().where(states.c.source_id == spec.id).values(state_row))
