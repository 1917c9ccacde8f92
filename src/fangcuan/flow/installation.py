"""One installation, opened: settings, casebook, evidence store. What every use case starts from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from fangcuan import settings as settings_module
from fangcuan.cases.evidence.store import EvidenceBackend, EvidenceStore
from fangcuan.ingest.stage import RawStore
from fangcuan.settings import CONFIG_NAME, Settings
from fangcuan.store.database import open_engine
from fangcuan.store.policies import JURISDICTION


class NotInitialised(Exception):
    """There is no installation here; the message says how to make one."""


@dataclass(frozen=True)
class Installation:
    """Opened lazily: a command that needs no database opens none."""

    settings: Settings

    @cached_property
    def engine(self) -> Engine:
        if self.settings.casebook_url.startswith("sqlite:///") and not Path(self.settings.casebook_url[10:]).is_file():
            raise NotInitialised(f"no casebook at {self.settings.casebook_url}; run `fangcuan init` first")
        # What the legal gate falls back on goes with every connection, so that no command can forget it.
        return open_engine(self.settings.casebook_url).execution_options(**{JURISDICTION: self.settings.jurisdiction})

    @cached_property
    def evidence(self) -> EvidenceBackend:
        settings = self.settings
        if not settings.evidence_url:
            return EvidenceStore(settings.evidence_path)
        from fangcuan.cases.evidence.s3 import BucketEvidence, Retention

        retention = Retention(settings.evidence_lock, settings.evidence_lock_days) if settings.evidence_lock else None
        return BucketEvidence(settings.evidence_url, retention)

    @cached_property
    def raw(self) -> RawStore:
        return RawStore(self.settings.lake_path / "raw")


def open_installation(home: Path | None = None) -> Installation:
    """The installation of `home`, else the one that settings find."""
    return Installation(settings_module.load(home))


def initialise(home: Path, **values: Any) -> Installation:
    """Make an installation: settings file, folders, casebook at the newest version. Doing it again changes nothing.

    `values` are settings to write; an existing settings file is kept as it is.
    """
    from fangcuan.store import migrations

    home.mkdir(parents=True, exist_ok=True)
    config = home / CONFIG_NAME
    if not config.exists():
        lines = ["# Settings of this installation; docs/settings.md explains each. FANGCUAN_<NAME> overrides one."]
        lines += [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    installation = open_installation(home)
    for folder in (installation.settings.lake_path, installation.settings.evidence_path):
        folder.mkdir(parents=True, exist_ok=True)
    migrations.upgrade(installation.settings.casebook_url)
    return installation


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
