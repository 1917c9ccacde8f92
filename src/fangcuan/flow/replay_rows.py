"""The rows a replay reads: those its run knew, file by file and digest by digest, or all that is known by now."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select

from fangcuan.core.canonical import digest, sha256_hex, utc_text
from fangcuan.core.contract import Relation
from fangcuan.core.feeds import FEEDS
from fangcuan.core.masters import DECIDED
from fangcuan.detect.relations import night_end
from fangcuan.detect.sources import CatalogueRows
from fangcuan.flow.installation import Installation
from fangcuan.settings import Settings
from fangcuan.store.catalogue import LakeFileRow, Receipt, Run, UnitResult
from fangcuan.store.database import read
from fangcuan.store.masters import MASTER_TABLES
from fangcuan.warehouse.custody import CUSTODY
from fangcuan.warehouse.engine import DuckEngine, files_sql, literal, quote
from fangcuan.warehouse.lake import lake_columns


class NotReproducible(Exception):
    """Something the run rested on is gone or altered: `digest` is that of what is missing, `what` says what it was."""

    def __init__(self, what: str, digest: str, message: str):
        super().__init__(f"{what} {digest}: {message}")
        self.what, self.digest, self.message = what, digest, message

    def told(self) -> dict[str, str]:
        return {"what": self.what, "digest": self.digest, "message": self.message}


class ReplayRows(CatalogueRows):
    """Relation source of one replayed night. Every file is read only if its sha256 is the one that was written down.

    Facts of earlier nights are read as they were written; those of the night itself come from `tonight`, where the replay puts
    what it computed.
    """

    def __init__(
        self, installation: Installation, settings: Settings, run: Row[Any], unit_digests: Mapping[str, str], keep: int
    ):
        super().__init__(settings, installation.engine, run.night, unit_digests, keep_rows=keep)
        self.run = run
        self.tonight: dict[str, tuple[Path, int]] = {}
        self._digest_of: dict[str, str] = {}
        self._sound: set[str] = set()

    def open_raw(self, engine: DuckEngine, name: str) -> None:
        if name in FEEDS or name in CUSTODY:
            for path in self._listed().get(name, []):
                self._check(path, self._digest_of[path], "lake file")
        super().open_raw(engine, name)

    def fact_runs(self, unit_id: str) -> list[tuple[dt.date, Path, int]]:
        statement = (
            select(Run.night, UnitResult.path, UnitResult.rows, UnitResult.sha256)
            .join(UnitResult, UnitResult.run_id == Run.run_id)
            .where(
                UnitResult.unit_id == unit_id,
                UnitResult.unit_digest == self._digests[unit_id],
                UnitResult.state == "done",
                UnitResult.path.is_not(None),
                Run.night < self._night,
                Run.opened_at <= self.run.opened_at,
            )
            .order_by(Run.night)
        )
        with read(self._engine) as connection:
            rows = connection.execute(statement).all()
        for row in rows:
            self._check(row.path, row.sha256, f"rows of {unit_id}, night {row.night}")
        found = [(row.night, self._lake.absolute(row.path), row.rows) for row in rows]
        if unit_id in self.tonight:
            found.append((self._night, *self.tonight[unit_id]))
        return found

    def _check(self, path: str, expected: str, what: str) -> None:
        if path in self._sound:
            return
        try:
            with self._lake.absolute(path).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise NotReproducible(what, expected, f"{path} is gone ({error.strerror})") from error
        if found != expected:
            raise NotReproducible(what, expected, f"{path} was altered; it has sha256 {found}")
        self._sound.add(path)


class AsThen(ReplayRows):
    """What the run knew: the lake files of its manifest, and the master data that had been received when it opened."""

    def _listed(self) -> dict[str, list[str]]:
        if self._files is None:
            found: dict[str, list[str]] = defaultdict(list)
            known = self._known_files()
            for item in self._manifest():
                row = known.get(item["path"])
                if row is None:
                    raise NotReproducible(
                        "lake file", item["sha256"], f"{item['path']} is not in the catalogue any more"
                    )
                self._digest_of[item["path"]] = item["sha256"]
                early = row.event_date is not None and row.event_date < self._horizon
                if early and row.arrived_on <= self._horizon:
                    continue
                found[item["relation"]].append(item["path"])
                self._rows[item["relation"]] += row.rows
            self._files = dict(found)
        return self._files

    def _known_files(self) -> dict[str, Any]:
        columns = (LakeFileRow.path, LakeFileRow.event_date, LakeFileRow.arrived_on, LakeFileRow.rows)
        with read(self._engine) as connection:
            return {row.path: row for row in connection.execute(select(*columns))}

    def _manifest(self) -> list[dict[str, Any]]:
        """Files of the run: the list beside the lake, held against the digest that the run's id is made of."""
        name = f"manifests/{self.run.night}-{self.run.run_id[:12]}.json"
        expected = self.run.manifest_digest
        try:
            files: list[dict[str, Any]] = json.loads(self._lake.absolute(name).read_bytes())["files"]
            found = digest([[item["relation"], item["event_date"], item["sha256"]] for item in files])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotReproducible("manifest", expected, f"{name} cannot be read ({error})") from error
        if found != expected:
            raise NotReproducible("manifest", expected, f"{name} was altered; its files have the digest {found}")
        return files

    def check_masters(self) -> None:
        """Raises NotReproducible where the master data known then do not add up to the digest of the run."""
        end, found = night_end(self._night, self._settings), {}
        for name, table in MASTER_TABLES.items():
            if name in DECIDED:
                continue
            early = table.c.recorded_at.is_(None) | (table.c.recorded_at <= end)
            statement = select(table.c.row_digest).where(early, self._received(table)).order_by(table.c.row_digest)
            with read(self._engine) as connection:
                found[name] = sha256_hex("\n".join(connection.execute(statement).scalars()).encode())
        if digest(found) != self.run.master_digest:
            message = f"those received by then have {digest(found)}"
            raise NotReproducible("master data", self.run.master_digest, message)

    def _recorded(self, relation: Relation, names: Sequence[str]) -> Sequence[Row[Any]]:
        table = MASTER_TABLES[relation.name]
        with read(self._engine) as connection:
            return connection.execute(select(*(table.c[name] for name in names)).where(self._received(table))).all()

    def _received(self, table: Any) -> Any:
        by_then = select(Receipt.receipt_id).where(Receipt.recorded_at <= self.run.opened_at)
        return table.c.receipt_id.in_(by_then)


class AsNow(ReplayRows):
    """Everything known by now, late and corrected events included, as if it had been there that night."""

    def _listed(self) -> dict[str, list[str]]:
        if self._files is None:
            found: dict[str, list[str]] = defaultdict(list)
            columns = (LakeFileRow.relation, LakeFileRow.path, LakeFileRow.rows, LakeFileRow.sha256)
            statement = select(*columns).where(
                LakeFileRow.event_date.is_(None)
                | (LakeFileRow.event_date >= self._horizon)
                | (LakeFileRow.arrived_on > self._horizon)
            )
            with read(self._engine) as connection:
                for relation, path, _, sha256 in connection.execute(statement):
                    found[relation].append(path)
                    self._digest_of[path] = sha256
            self._files = dict(found)
        return self._files

    def open_raw(self, engine: DuckEngine, name: str) -> None:
        super().open_raw(engine, name)
        if name not in FEEDS and name not in CUSTODY:
            return
        raw, columns = (
            (f"lake_{name}", lake_columns(FEEDS[name])) if name in FEEDS else (f"steps_{name}", CUSTODY[name][0])
        )
        paths = [self._lake.absolute(path) for path in sorted(self._listed().get(name, []))]
        # Later arrivals count as that night's: units ask what arrived since the night before.
        by_then = f"least(arrived_on, date {literal(self._night.isoformat())}) as arrived_on"
        engine.view(
            raw, f"select * replace ({by_then}) from ({files_sql(columns, paths)}){self._happened(name, columns)}"
        )

    def _happened(self, name: str, columns: Mapping[str, str]) -> str:
        """Only what had happened by the end of the night; whatever withdraws it may be of any later day."""
        time = FEEDS[name].time if name in FEEDS else "at" if "at" in columns else None
        if time is None:
            return ""
        if columns[time] == "date":
            return f" where {quote(time)} <= date {literal(self._night.isoformat())}"
        return f" where {quote(time)} < timestamptz {literal(utc_text(night_end(self._night, self._settings)))}"
