"""Judge past findings again from what is stored, and hold every byte against what was filed."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from sqlalchemy import Row, select

from fangcuan.cases.evidence.store import EvidenceDamaged, EvidenceMissing
from fangcuan.cases.filing.grouping import GroupingPolicy
from fangcuan.cases.filing.prepared import STORM, artefact, prepare, storm_finding, waiting_row
from fangcuan.cases.refusals import UnknownCase
from fangcuan.content.problem import ContentError
from fangcuan.core.canonical import digest, sha256_hex
from fangcuan.core.finding import Finding
from fangcuan.detect.detectors import DetectorUnit, all_units
from fangcuan.detect.findings import UnitError
from fangcuan.detect.models import ModelRefused
from fangcuan.detect.relations import Night, night_parameters
from fangcuan.detect.run import UnitFindings, run_fact, run_unit
from fangcuan.detect.scoring import run_detector
from fangcuan.detect.sql import SqlRefused
from fangcuan.detect.units import AnyUnit, Unit, facts_of
from fangcuan.flow import pinned
from fangcuan.flow.configured import configured_relations
from fangcuan.flow.coverage import coverage_id, night_coverage, unit_coverage
from fangcuan.flow.differences import differences
from fangcuan.flow.filing import snapshot
from fangcuan.flow.installation import Installation
from fangcuan.flow.night import KEEP_ROWS, OpenRun, lake_engine
from fangcuan.flow.replay_rows import AsNow, AsThen, NotReproducible, ReplayRows
from fangcuan.flow.training import open_model
from fangcuan.store.casework import case_file, case_finding, finding_occurrence
from fangcuan.store.catalogue import ModelVersion, Run
from fangcuan.store.database import read
from fangcuan.warehouse.engine import DuckEngine, QueryRefused

At = Literal["run", "now"]
REPRODUCED, DRIFTED, NOT_REPRODUCIBLE = "reproduced", "drifted", "not reproducible"
#: The worst of several states is that of the whole.
_STATES = (REPRODUCED, DRIFTED, NOT_REPRODUCIBLE)


@dataclass
class _Nightly:
    """One run judged again: its rows and engine, and what its units gave."""

    run: Row[Any]
    units: Mapping[str, AnyUnit]
    night: Mapping[str, Night]
    coverage: Mapping[str, Any]
    given: dict[str, UnitFindings] = field(default_factory=dict)


class Replay:
    """Judges runs again as they are asked for, each unit of a run once. Use as a context manager.

    `at` run: everything as the run knew it, content included. `at` now: the same content with all that is known by now.
    `with_rules`: a content folder, or a rule file, whose files take the place of those of the same name.
    """

    def __init__(self, installation: Installation, *, at: At = "run", with_rules: Path | None = None):
        self._installation = installation
        self._at: At = at
        self._overlay = pinned.folder_content(with_rules) if with_rules else {}
        self._with_rules = str(with_rules) if with_rules else None
        self._runs: dict[str, Row[Any]] = {}

    def case(self, number: str) -> dict[str, Any]:
        """The verdict on a case: {"number", "state", "at", "with_rules", "engine", "occurrences": […]}. Raises UnknownCase.

        Each occurrence has `state`, `differences` ([{"field", "filed", "replayed"}]), `missing` ({"what", "digest", "message"}).
        """
        return next(iter(self.cases([number])))

    def cases(self, numbers: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The verdicts on several cases; a run that they share is judged again once."""
        wanted = {number: self._occurrences(number) for number in numbers}
        by_run: dict[str, dict[tuple[dt.date, str], Row[Any]]] = {}
        for rows in wanted.values():
            for row in rows:
                by_run.setdefault(row.run_id, {})[row.night, row.reported_id] = row
        verdicts: dict[tuple[dt.date, str], dict[str, Any]] = {}
        for run_id, occurrences in by_run.items():
            verdicts |= self._run(run_id, occurrences)
        for number, rows in wanted.items():
            told = [verdicts[row.night, row.reported_id] for row in rows]
            yield {
                "number": number,
                "state": max((one["state"] for one in told), key=_STATES.index, default=REPRODUCED),
                "at": self._at,
                "with_rules": self._with_rules,
                "engine": self._engine({row.run_id for row in rows}),
                "occurrences": told,
            }

    def _occurrences(self, number: str) -> Sequence[Row[Any]]:
        with read(self._installation.engine) as connection:
            if connection.execute(select(case_file.c.number).where(case_file.c.number == number)).first() is None:
                raise UnknownCase(f"{number}: no such case")
            return connection.execute(
                select(finding_occurrence)
                .join(case_finding, case_finding.c.finding_id == finding_occurrence.c.finding_id)
                .where(case_finding.c.number == number)
                .order_by(finding_occurrence.c.night, finding_occurrence.c.reported_id)
            ).all()

    def _engine(self, run_ids: Iterable[str]) -> dict[str, Any]:
        """Digests of engine and libraries now and in the runs, and what differs between them."""
        here = pinned.engine()
        then = {run_id: self._runs[run_id].plan.get("engine") for run_id in run_ids if run_id in self._runs}
        found = {digest(one): one for told in then.values() for one in pinned.engine_differences(told, here)}
        return {
            "here": here,
            "runs": {run_id: told["digest"] if told else None for run_id, told in sorted(then.items())},
            "differs": [found[key] for key in sorted(found)],
        }

    def _run(self, run_id: str, occurrences: Mapping[tuple[dt.date, str], Row[Any]]) -> dict[Any, dict[str, Any]]:
        with read(self._installation.engine) as connection:
            run = connection.execute(select(Run.__table__).where(Run.run_id == run_id)).one_or_none()
        verdicts = {}
        if run is None:
            gone = NotReproducible("run", run_id, "the catalogue does not know it any more")
            return {key: _verdict(row, NOT_REPRODUCIBLE, missing=gone.told()) for key, row in occurrences.items()}
        self._runs[run_id] = run
        try:
            _check_run(run)
            with self._content(run), self._opened(run) as nightly:
                for key, row in sorted(occurrences.items()):
                    verdicts[key] = self._judge(nightly, row)
        except NotReproducible as error:
            for key, row in occurrences.items():
                verdicts.setdefault(key, _verdict(row, NOT_REPRODUCIBLE, missing=error.told()))
        return verdicts

    @contextmanager
    def _content(self, run: Row[Any]) -> Iterator[None]:
        """The content of the run, with what `with_rules` puts in its place. The installed one serves where it is the same."""
        kept = run.plan.get("content")
        files = pinned.content()
        if kept is not None and sha256_hex(pinned.content_text(files)) != kept:
            try:
                files = pinned.read_content(self._installation.evidence.get(kept))
            except (EvidenceMissing, EvidenceDamaged, ValueError) as error:
                raise NotReproducible("content", kept, str(error)) from error
        elif not self._overlay:
            yield
            return
        with pinned.as_content({**files, **self._overlay}):
            yield

    @contextmanager
    def _opened(self, run: Row[Any]) -> Iterator[_Nightly]:
        installation, settings = self._installation, self._installation.settings
        then = run.plan.get("settings")
        if then:
            settings = replace(settings, **then)
        try:
            units = all_units()
        except ContentError as error:
            if self._overlay:
                raise
            # What judged then may not be valid content for this version of the program.
            raise NotReproducible("content", str(run.plan.get("content")), str(error)) from error
        source: type[ReplayRows] = AsThen if self._at == "run" else AsNow
        settings.spill_path.mkdir(parents=True, exist_ok=True)
        with (
            lake_engine(installation) as engine,
            TemporaryDirectory(prefix="replay-", dir=settings.spill_path) as folder,
        ):
            rows = source(installation, settings, run, {k: u.digest for k, u in units.items()}, KEEP_ROWS)
            if isinstance(rows, AsThen):
                rows.check_masters()
            coverage = run.coverage
            if self._at == "now":
                coverage = night_coverage(installation.engine, run.night, run.since, configured_relations(installation))
            nights = _Nights(engine, rows, run, units, Path(folder), settings, self._at)
            yield _Nightly(run, units, nights, coverage)

    def _judge(self, nightly: _Nightly, row: Row[Any]) -> dict[str, Any]:
        try:
            stored = self._stored(row)
            if stored is not None and stored["finding"]["explanation_code"] == STORM:
                data = self._storm(nightly, stored)
            else:
                data = self._finding(nightly, row, stored)
        except NotReproducible as error:
            return _verdict(row, NOT_REPRODUCIBLE, missing=error.told())
        except (UnitError, SqlRefused, QueryRefused, ModelRefused) as error:
            return _verdict(row, DRIFTED, differences=[_difference("unit", row.unit_digest, str(error))])
        if data is not None and sha256_hex(data) == row.evidence_sha256:
            return _verdict(row, REPRODUCED)
        if stored is None:
            gone = NotReproducible(
                "evidence", row.evidence_sha256, "the store has it no more, and it is not computed again"
            )
            return _verdict(row, NOT_REPRODUCIBLE, missing=gone.told())
        if data is None:
            return _verdict(row, DRIFTED, differences=[_difference("finding", row.reported_id, None)])
        return _verdict(row, DRIFTED, differences=differences(stored, json.loads(data)))

    def _stored(self, row: Row[Any]) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._installation.evidence.get(row.evidence_sha256))
        except (EvidenceMissing, EvidenceDamaged):
            return None
        return found

    def _finding(self, nightly: _Nightly, row: Row[Any], stored: Mapping[str, Any] | None) -> bytes | None:
        """The artefact of the finding as it is computed now; None where the unit says nothing of it any more."""
        unit_id = stored["finding"]["unit_id"] if stored else _unit_of(nightly.units, row.unit_digest)
        unit = nightly.units.get(unit_id or "")
        if self._with_rules is None and (unit is None or unit.digest != row.unit_digest):
            here = f"it is {unit.digest} here" if unit else "there is none here"
            raise NotReproducible("unit", row.unit_digest, f"{unit_id or 'a unit'} is not the text that judged; {here}")
        if unit is None:
            return None
        given = self._given(nightly, unit)
        found = _same(given.findings, row.reported_id, stored)
        if found is None:
            return None
        coverage = unit_coverage(nightly.coverage, unit.reads)
        (prepared,) = prepare([found], [], GroupingPolicy())
        return artefact(prepared, snapshot(found, unit, given.evidence, coverage, _open_run(nightly.run)))

    def _storm(self, nightly: _Nightly, stored: Mapping[str, Any]) -> bytes | None:
        """What waits behind a storm is computed again; how many cases it would have been is taken from what was filed."""
        told, policy = stored["finding"], GroupingPolicy()
        unit = nightly.units.get(told["unit_id"])
        if unit is None:
            return None
        waits = [one for one in prepare(self._given(nightly, unit).findings, [], policy) if one.opens]
        if not waits:
            return None
        params = told["explanation_params"]
        unit_digest = min(one.finding.unit_digest for one in waits)
        found = storm_finding(unit.id, unit_digest, nightly.run.night, params["cases"], params["limit"])
        (prepared,) = prepare([found], [], policy)
        return artefact(prepared, {"rows": [waiting_row(one) for one in waits]})

    def _given(self, nightly: _Nightly, unit: AnyUnit) -> UnitFindings:
        if unit.id not in nightly.given:
            nightly.given[unit.id] = self._compute(nightly, unit)
        return nightly.given[unit.id]

    def _compute(self, nightly: _Nightly, unit: AnyUnit) -> UnitFindings:
        settings = self._installation.settings
        then = nightly.run.plan.get("settings")
        settings = replace(settings, **then) if then else settings
        covered = coverage_id(unit_coverage(nightly.coverage, unit.reads))
        night = nightly.night[unit.id]
        if isinstance(unit, DetectorUnit):
            model_id = nightly.run.plan.get("models", {}).get(unit.id)
            model, envelope = self._model(unit, model_id)
            return run_detector(night, unit, model, envelope, covered, settings)
        assert isinstance(unit, Unit)
        return run_unit(night, unit, covered, settings)

    def _model(self, unit: DetectorUnit, model_id: str | None) -> Any:
        if model_id is None:
            raise NotReproducible("model", "none", f"no model of {unit.id} is named in the plan of the run")
        with read(self._installation.engine) as connection:
            sha256 = connection.execute(
                select(ModelVersion.sha256).where(ModelVersion.model_id == model_id)
            ).scalar_one_or_none()
        try:
            return open_model(self._installation, unit, model_id)
        except ModelRefused as error:
            raise NotReproducible("model", sha256 or model_id, str(error)) from error


class _Nights(Mapping[str, Night]):
    """Night by unit id. Before a unit is given its night, the facts below it are computed for that night and laid beside it."""

    def __init__(
        self,
        engine: DuckEngine,
        rows: ReplayRows,
        run: Row[Any],
        units: Mapping[str, AnyUnit],
        folder: Path,
        settings: Any,
        at: At,
    ):
        self._engine, self._rows, self._run, self._folder = engine, rows, run, folder
        self._settings = settings
        self._units, self._facts = units, facts_of(units)
        self._by_relation = {rule.relation: key for key, rule in self._facts.items()}
        self._known_until = dt.datetime.now(dt.UTC) if at == "now" else None
        self._nights: dict[dt.date | None, Night] = {}

    def __getitem__(self, unit_id: str) -> Night:
        self._facts_below(unit_id)
        return self._night(self._run.since)

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)

    def _night(self, since: dt.date | None) -> Night:
        if since not in self._nights:
            parameters = night_parameters(self._run.night, since, self._settings)
            # What is opened carries `since` in it, so another one takes the names over.
            self._nights.clear()
            self._nights[since] = Night(
                self._engine, self._rows, self._facts, parameters, known_until=self._known_until
            )
        return self._nights[since]

    def _facts_below(self, unit_id: str) -> None:
        for relation in sorted(self._units[unit_id].reads_facts):
            fact = self._units[self._by_relation[relation]]
            if fact.id in self._rows.tonight:
                continue
            self._facts_below(fact.id)
            earlier = [night for night, _, _ in self._rows.fact_runs(fact.id)]
            since = max(earlier) if earlier and self._run.since else None
            path = self._folder / f"{fact.id}.parquet"
            assert isinstance(fact, Unit)
            count = run_fact(self._night(since), fact, path)
            self._rows.tonight[fact.id] = (path, count)


def _check_run(run: Row[Any]) -> None:
    """A run's id is made of what it rested on. Raises NotReproducible where the row says something else by now."""
    made = digest(
        [
            run.night,
            run.since,
            run.manifest_digest,
            run.master_digest,
            run.content_digest,
            run.code_version,
            run.coverage,
        ]
    )
    if made[:32] != run.run_id:
        raise NotReproducible("run", run.run_id, f"its row was altered; what it says has the digest {made[:32]}")


def _open_run(run: Row[Any]) -> OpenRun:
    return OpenRun(run.run_id, run.night, run.since, run.state, run.plan, run.coverage)


def _unit_of(units: Mapping[str, AnyUnit], unit_digest: str) -> str | None:
    return next((key for key, unit in units.items() if unit.digest == unit_digest), None)


def _same(findings: Sequence[Finding], reported_id: str, stored: Mapping[str, Any] | None) -> Finding | None:
    """The finding of this identity, or, where the unit's text is another, the one with a fingerprint in common."""
    for one in findings:
        if one.finding_id == reported_id:
            return one
    names = set(stored["finding"]["fingerprints"]) if stored else set()
    return next((one for one in findings if names & set(one.fingerprints)), None)


def _difference(name: str, filed: Any, replayed: Any) -> dict[str, Any]:
    return {"field": name, "filed": filed, "replayed": replayed}


def _verdict(row: Row[Any], state: str, **more: Any) -> dict[str, Any]:
    return {
        "night": row.night.isoformat(),
        "finding_id": row.finding_id,
        "reported_id": row.reported_id,
        "run_id": row.run_id,
        "unit_digest": row.unit_digest,
        "evidence_sha256": row.evidence_sha256,
        "state": state,
        "differences": more.get("differences", []),
        "missing": more.get("missing"),
    }
