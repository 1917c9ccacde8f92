"""Judge one night: open, detect per unit, decide, file. Every step can be killed and run again; a judged night is a no-op."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update

import fangcuan
from fangcuan.core.canonical import canonical_json, digest, sha256_hex
from fangcuan.core.failpoints import hit
from fangcuan.core.finding import Finding
from fangcuan.core.masters import DECIDED
from fangcuan.detect.detectors import DetectorUnit, all_units
from fangcuan.detect.findings import UnitError, read_lines, record_line
from fangcuan.detect.models import ModelRefused
from fangcuan.detect.relations import Night, night_end, night_parameters
from fangcuan.detect.run import run_fact, run_unit
from fangcuan.detect.scoring import run_detector
from fangcuan.detect.sources import CatalogueRows
from fangcuan.detect.sql import SqlRefused
from fangcuan.detect.units import AnyUnit, Unit, facts_of
from fangcuan.flow.configured import configured_relations
from fangcuan.flow.coverage import coverage_id, night_coverage, unit_coverage
from fangcuan.flow.installation import Installation
from fangcuan.flow.pinned import pin
from fangcuan.flow.training import open_model, pinned_models
from fangcuan.ingest.load import insert_new
from fangcuan.store.catalogue import LakeFileRow, Run, UnitResult
from fangcuan.store.database import read, write
from fangcuan.store.masters import MASTER_TABLES
from fangcuan.warehouse.engine import DuckEngine, QueryRefused, publish_bytes


class NightFailed(Exception):
    """A step of a night cannot be done; the message says what and what to do."""


@dataclass(frozen=True)
class OpenRun:
    """A run as the casebook has it."""

    run_id: str
    night: dt.date
    since: dt.date | None
    state: str
    plan: Mapping[str, Any]
    coverage: Mapping[str, Any]


def live_units() -> dict[str, AnyUnit]:
    """Rules and detectors that run at night: draft and retired ones do not."""
    return {key: unit for key, unit in all_units().items() if unit.rule.status in {"active", "shadow"}}


def open_night(installation: Installation, night: dt.date) -> dict[str, Any]:
    """Pin what the night sees and give its plan; for a judged night say so.

    The run's id is a digest of night, lake files, master data, units, models and code, so opening twice opens once.
    """
    engine = installation.engine
    with read(engine) as connection:
        judged = connection.execute(
            select(Run.run_id).where(Run.night == night, Run.state == "judged")
        ).scalar_one_or_none()
        since = connection.execute(
            select(func.max(Run.night)).where(Run.night < night, Run.state == "judged")
        ).scalar_one_or_none()
    if judged:
        return {"run_id": judged, "night": night.isoformat(), "state": "judged", "stages": [[], []]}
    units = live_units()
    files = _manifest(installation, night)
    manifest_digest = digest([[item["relation"], item["event_date"], item["sha256"]] for item in files])
    master_digest = _master_digest(installation, night)
    models = pinned_models(installation, units.values(), night)
    content_digest = digest({"units": {key: unit.digest for key, unit in units.items()}, "models": models})
    coverage = night_coverage(engine, night, since, configured_relations(installation))
    pinned = pin(installation)
    run_id = digest([night, since, manifest_digest, master_digest, content_digest, fangcuan.__version__, coverage])[:32]
    facts = [key for key, unit in units.items() if unit.rule.role == "fact"]
    rest = [key for key, unit in units.items() if unit.rule.role != "fact"]
    row = {
        "run_id": run_id,
        "night": night,
        "since": since,
        "state": "open",
        "manifest_digest": manifest_digest,
        "master_digest": master_digest,
        "content_digest": content_digest,
        "code_version": fangcuan.__version__,
        "plan": {"facts": facts, "units": rest, "models": models, **pinned},
        "coverage": coverage,
        "counts": {},
        "opened_at": dt.datetime.now(dt.UTC),
        "judged_at": None,
    }
    manifest = {"night": night, "manifest_digest": manifest_digest, "files": files}
    publish_bytes(
        installation.settings.lake_path / "manifests" / f"{night}-{run_id[:12]}.json", canonical_json(manifest)
    )
    hit("night.after_manifest")
    with write(engine) as connection:
        insert_new(connection, Run.__table__, [row])
    hit("night.after_open")
    return {"run_id": run_id, "night": night.isoformat(), "state": "open", "stages": [facts, rest]}


def _manifest(installation: Installation, night: dt.date) -> list[dict[str, Any]]:
    statement = (
        select(LakeFileRow.relation, LakeFileRow.event_date, LakeFileRow.sha256, LakeFileRow.path, LakeFileRow.size)
        .where(LakeFileRow.arrived_on <= night)
        .order_by(LakeFileRow.relation, LakeFileRow.event_date, LakeFileRow.sha256, LakeFileRow.path)
    )
    with read(installation.engine) as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def _master_digest(installation: Installation, night: dt.date) -> str:
    end = night_end(night, installation.settings)
    found = {}
    with read(installation.engine) as connection:
        for name, table in MASTER_TABLES.items():
            if name in DECIDED:
                # No unit reads them: what may be done about a case changes no finding.
                continue
            statement = (
                select(table.c.row_digest)
                .where(table.c.recorded_at.is_(None) | (table.c.recorded_at <= end))
                .order_by(table.c.row_digest)
            )
            found[name] = sha256_hex("\n".join(connection.execute(statement).scalars()).encode())
    return digest(found)


def judged_nights(installation: Installation) -> frozenset[dt.date]:
    """Nights that were judged."""
    with read(installation.engine) as connection:
        return frozenset(connection.execute(select(Run.night).where(Run.state == "judged")).scalars())


def load_run(installation: Installation, run_id: str) -> OpenRun:
    with read(installation.engine) as connection:
        row = connection.execute(select(Run.__table__).where(Run.run_id == run_id)).mappings().first()
    if row is None:
        raise NightFailed(f"no run {run_id}; open the night first")
    return OpenRun(row["run_id"], row["night"], row["since"], row["state"], row["plan"], row["coverage"])


def check_lake(installation: Installation, run_id: str) -> dict[str, Any]:
    """See that every lake file the night rests on is there, with its size. Raises NightFailed naming the first that is not."""
    run = load_run(installation, run_id)
    files = _manifest(installation, run.night)
    for item in files:
        path = installation.settings.lake_path / item["path"]
        if not path.is_file() or path.stat().st_size != item["size"]:
            raise NightFailed(
                f"lake file {item['path']} is missing or cut short; restore it before the night is judged"
            )
    return {"run_id": run_id, "files": len(files), "bytes": sum(item["size"] for item in files)}


#: Feeds up to this size are read once a night instead of once a unit (about 1 KiB a row in memory).
KEEP_ROWS = 500_000


def lake_engine(installation: Installation) -> DuckEngine:
    """An engine that can read the lake and its own spill folder, nothing else."""
    settings = installation.settings
    engine = DuckEngine(settings)
    engine.confine([settings.lake_path, settings.spill_path])
    return engine


class NightDetection:
    """Runs the units of one open run on one engine, so that what several units read is computed once.

    `engine` is given by whoever runs all units, not one: small feeds are then read once and held on it. It may serve several
    nights, oldest first, and is closed by its giver.
    """

    def __init__(self, installation: Installation, run: OpenRun, *, engine: DuckEngine | None = None):
        self._installation = installation
        self._run = run
        self._units = live_units()
        self._facts = facts_of(self._units)
        self._rows = CatalogueRows(
            installation.settings,
            installation.engine,
            run.night,
            {key: u.digest for key, u in self._units.items()},
            keep_rows=KEEP_ROWS if engine else 0,
        )
        self._nights: dict[dt.date | None, Night] = {}
        self._engines: list[DuckEngine] = []
        self._given = engine

    def close(self) -> None:
        for engine in self._engines:
            engine.close()

    def _night(self, since: dt.date | None) -> Night:
        if since not in self._nights:
            settings = self._installation.settings
            engine = self._given if since == self._run.since else None
            if engine is None:
                engine = lake_engine(self._installation)
                self._engines.append(engine)
            parameters = night_parameters(self._run.night, since, settings)
            self._nights[since] = Night(engine, self._rows, self._facts, parameters)
        return self._nights[since]

    def _since(self, unit: AnyUnit) -> dt.date | None:
        if unit.rule.role != "fact":
            return self._run.since
        # A fact that was changed starts anew: it has no rows of its own before tonight.
        earlier = [night for night, _, _ in self._rows.fact_runs(unit.id) if night < self._run.night]
        return max(earlier) if earlier and self._run.since else None

    def detect(self, unit_id: str) -> dict[str, Any]:
        """Run one unit once; its result is kept, asking again gives the kept one. A unit's own failure is a result too."""
        known = self._known(unit_id)
        if known is not None:
            return known
        if unit_id not in self._units:
            raise NightFailed(f"no unit {unit_id!r} in this run; known: {', '.join(sorted(self._units))}")
        unit = self._units[unit_id]
        by_relation = {rule.relation: key for key, rule in self._facts.items()}
        for relation in sorted(unit.reads_facts):
            below = self.detect(by_relation[relation])
            if below["state"] != "done":
                message = f"{by_relation[relation]}, which it reads, did not run: {below['message']}"
                return self._store(unit, "failed", {}, message=message)
        coverage = unit_coverage(self._run.coverage, unit.reads)
        if isinstance(unit, DetectorUnit) and unit.id not in self._models:
            return self._store(
                unit, "untrained", coverage, message=f"no trained model yet; run: fangcuan train {unit.id}"
            )
        started = time.monotonic()
        try:
            path, rows = self._compute(unit, coverage)
        except (UnitError, SqlRefused, QueryRefused, ModelRefused) as error:
            return self._store(unit, "failed", coverage, message=str(error), seconds=time.monotonic() - started)
        hit("detect.before_result")
        state = "done" if coverage["looked"] or unit.rule.role == "fact" else "not_looked"
        return self._store(unit, state, coverage, path=path, rows=rows, seconds=time.monotonic() - started)

    @property
    def _models(self) -> Mapping[str, str]:
        return self._run.plan.get("models", {})

    def _compute(self, unit: AnyUnit, coverage: Mapping[str, Any]) -> tuple[str, int]:
        night = self._night(self._since(unit))
        folder = self._installation.settings.lake_path
        if isinstance(unit, Unit) and unit.rule.role == "fact":
            name = f"facts/{unit.id}/{unit.digest[:12]}/{self._run.night}-{self._run.run_id[:12]}.parquet"
            return name, run_fact(night, unit, folder / name)
        name = f"findings/{self._run.night}-{self._run.run_id[:12]}/{unit.id}.jsonl"
        settings = self._installation.settings
        if isinstance(unit, DetectorUnit):
            model, envelope = open_model(self._installation, unit, self._models[unit.id])
            result = run_detector(night, unit, model, envelope, coverage_id(coverage), settings)
        else:
            assert isinstance(unit, Unit)
            result = run_unit(night, unit, coverage_id(coverage), settings)
        evidence = (
            record_line({"relation": relation, "key": key, "row": row})
            for (relation, key), row in sorted(result.evidence.items())
        )
        publish_bytes(folder / name.replace(".jsonl", ".evidence.jsonl"), b"".join(evidence))
        hit("detect.between_files")
        publish_bytes(folder / name, b"".join(record_line(f.as_record()) for f in result.findings))
        return name, len(result.findings)

    def _known(self, unit_id: str) -> dict[str, Any] | None:
        with read(self._installation.engine) as connection:
            row = (
                connection.execute(
                    select(UnitResult.__table__).where(
                        UnitResult.run_id == self._run.run_id, UnitResult.unit_id == unit_id
                    )
                )
                .mappings()
                .first()
            )
        # A failure is tried again; what was computed stands.
        return None if row is None or row["state"] == "failed" else _result(dict(row))

    def _store(
        self,
        unit: AnyUnit,
        state: str,
        coverage: Mapping[str, Any],
        *,
        path: str | None = None,
        rows: int = 0,
        seconds: float = 0.0,
        message: str | None = None,
    ) -> dict[str, Any]:
        lake = self._installation.settings.lake_path
        row = {
            "run_id": self._run.run_id,
            "unit_id": unit.id,
            "unit_digest": unit.digest,
            "state": state,
            "path": path,
            "sha256": _file_sha256(lake / path) if path else None,
            "rows": rows,
            "seconds": f"{seconds:.3f}",
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "coverage": dict(coverage),
            "message": message,
        }
        with write(self._installation.engine) as connection:
            if not insert_new(connection, UnitResult.__table__, [row]):
                connection.execute(
                    update(UnitResult)
                    .where(
                        UnitResult.run_id == row["run_id"], UnitResult.unit_id == unit.id, UnitResult.state == "failed"
                    )
                    .values(row)
                )
        return _result(row)


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("run_id", "unit_id", "state", "rows", "seconds", "message", "path", "sha256")
    return {**{name: row[name] for name in names}, "not_looked": row["coverage"].get("not_looked", [])}


def detect(installation: Installation, run_id: str, unit_id: str) -> dict[str, Any]:
    """Run one unit of an open run, as a scheduler's task does."""
    detection = NightDetection(installation, load_run(installation, run_id))
    try:
        return detection.detect(unit_id)
    finally:
        detection.close()


def unit_results(installation: Installation, run_id: str) -> list[dict[str, Any]]:
    """Results of a run's units in order of their ids."""
    statement = select(UnitResult.__table__).where(UnitResult.run_id == run_id).order_by(UnitResult.unit_id)
    with read(installation.engine) as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def findings_of(installation: Installation, run_id: str) -> list[Finding]:
    """All findings of a run, sorted by id."""
    found = []
    for result in unit_results(installation, run_id):
        if result["path"] and result["path"].endswith(".jsonl"):
            data = (installation.settings.lake_path / result["path"]).read_bytes()
            found += [Finding.from_record(record) for record in read_lines(data)]
    return sorted(found, key=lambda finding: finding.finding_id)


def evidence_of(installation: Installation, run_id: str) -> dict[tuple[str, str], Any]:
    """Exact rows the findings of a run rest on, by (relation, row key)."""
    rows = {}
    for result in unit_results(installation, run_id):
        if result["path"] and result["path"].endswith(".jsonl"):
            path = installation.settings.lake_path / result["path"].replace(".jsonl", ".evidence.jsonl")
            for line in path.read_bytes().splitlines():
                item = json.loads(line)
                rows[item["relation"], item["key"]] = item["row"]
    return rows


def _file_sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
