"""Every source's own sample through fetch, read, extract, map and gate gives exactly the rows its folder says.

`pipelines/<id>/sample/` stands where the source's variables point; `sample/expected.json` holds the outcome of every document:
good rows (columns that are not null), quarantined rows with their reasons, rows left out by `where`, issues.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fangcuan.core.canonical import plain
from fangcuan.flow.configured import source_folders
from fangcuan.ingest import connectors
from fangcuan.ingest.base import FetchContext, RawDocument, Refused
from fangcuan.ingest.extract import extractor
from fangcuan.ingest.gate import Gate
from fangcuan.ingest.mapping import Mapper
from fangcuan.ingest.source import RELATIONS, FeedSpec, SourceSpec, load_source
from fangcuan.ingest.stage import RawStore

NIGHT = dt.date(2026, 8, 31)
NIGHT_END = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)
#: Sources of the sample world are fed by a running world; tests/flow pulls them.
WORLD = "sample_"
FOLDERS = {key: folder for key, folder in source_folders().items() if not key.startswith(WORLD)}


class Everywhere(dict[str, str]):
    """Every variable of a source points to its sample."""

    def __init__(self, folder: Path):
        super().__init__()
        self._folder = folder

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return str(self._folder)


def outcomes(folder: Path, work: Path) -> list[dict[str, Any]]:
    """What becomes of every document of a source's sample, by document and relation."""
    spec = load_source(folder, Everywhere(folder / "sample"))
    connector = connectors.get(spec.connector.kind)
    context = FetchContext(spec.id, NIGHT, spec.folder, RawStore(work).stage)
    documents = sorted(connector.fetch(spec.connector.options, context), key=lambda document: document.name)
    return [outcome(spec, feed, document) for document in documents for feed in spec.feeds]


def outcome(spec: SourceSpec, feed: FeedSpec, document: RawDocument) -> dict[str, Any]:
    relation = RELATIONS[feed.relation]
    mapper, gate, extract = Mapper(relation, feed, "UTC"), Gate(relation, feed.expect, {}, NIGHT_END), extractor(spec)
    found: dict[str, Any] = {"document": document.name, "relation": relation.name, "rows": []}
    quarantined: list[dict[str, Any]] = []
    issues: list[str] = []
    skipped = 0
    try:
        for chunk in connectors.get(spec.connector.kind).read(document, spec.connector.options, 2):
            if chunk.relation not in (None, relation.name):
                continue
            mapped = mapper.apply(extract(chunk.table) if extract else chunk.table)
            result = gate.check(mapped)
            found["rows"] += [
                {name: plain(value) for name, value in row.items() if value is not None}
                for row in result.good.to_pylist()
            ]
            quarantined += [
                {"position": row["position"], "reasons": json.loads(row["reasons"])} for row in result.bad.to_pylist()
            ]
            issues += [issue.message for issue in mapped.issues]
            skipped += mapped.skipped
    except Refused as refused:
        return {
            "document": document.name,
            "relation": relation.name,
            "refused": refused.reason,
            "position": refused.position,
        }
    more: Mapping[str, Any] = {"quarantined": quarantined, "skipped": skipped, "issues": issues}
    return {**found, **{name: value for name, value in more.items() if value}}


@pytest.mark.parametrize("source_id", sorted(FOLDERS))
def test_the_sample_gives_exactly_the_expected_rows(source_id, tmp_path):
    found = outcomes(FOLDERS[source_id], tmp_path)
    path = FOLDERS[source_id] / "sample" / "expected.json"
    if not path.is_file():
        pytest.fail(f"no {path}; if this is right, write it there:\n{json.dumps(found, ensure_ascii=False, indent=1)}")
    assert found == json.loads(path.read_text(encoding="utf-8"))
    assert any(item.get("rows") for item in found), "a sample that loads nothing proves nothing"


def test_every_raw_column_of_a_sample_is_mapped_or_named_in_ignore(tmp_path):
    unmapped = {
        key: item["issues"]
        for key, folder in FOLDERS.items()
        for item in outcomes(folder, tmp_path / key)
        if item.get("issues")
    }
    assert unmapped == {}
