"""Settings of one installation: where its lake, casebook and evidence live, and what it may use.

Order of precedence: environment (`FANGCUAN_<NAME>`), then `fangcuan.toml`, then the defaults below. The file is looked for
in `FANGCUAN_HOME`, then upwards from the working directory, then beside the virtual environment the command runs from.
"""

from __future__ import annotations

import os
import sys
import tomllib
import zoneinfo
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

CONFIG_NAME = "fangcuan.toml"


class SettingsError(Exception):
    """A setting is missing or wrong; the message says which, where it was read and what to write instead."""


@dataclass(frozen=True)
class Settings:
    """`home` holds everything that is written; relative paths and the default database lie below it."""

    home: Path
    database_url: str = ""
    lake: Path = field(default=Path("lake"))
    evidence: Path = field(default=Path("evidence"))
    #: A bucket, `s3://…`, in place of that folder; with the retention that its object lock is to give.
    evidence_url: str = ""
    evidence_lock: str = ""
    evidence_lock_days: int = 0
    timezone: str = "Asia/Shanghai"
    currency: str = "CNY"
    #: Under which law cases fall whose policies and regions tell none: an ISO 3166-1 code, EU or UK. Empty: it stays unknown.
    jurisdiction: str = ""
    default_vat_rate: str = "0.13"
    memory_limit: str = "4GB"
    threads: int = 2
    #: Cases a unit may open in a night before its circuit breaker holds them; 0 leaves it to each rule. A first night over
    #: years of history brings more than any later one.
    max_cases: int = 0
    sources: tuple[str, ...] = ()
    #: The signing key of checkpoints, outside the database; its name is the origin of the checkpoints.
    audit_key: Path = field(default=Path("audit.key"))
    audit_places: tuple[str, ...] = ()
    audit_tsa: str = ""
    audit_tsa_roots: str = ""
    audit_smtp: str = ""
    audit_mail_from: str = ""
    #: Address of the workbench, for links in notifications.
    base_url: str = ""
    #: Hosts that captures may ask although they are not public.
    capture_allow: tuple[str, ...] = ()
    #: Listing pages of price cases captured in a night; 0 captures none.
    capture_most: int = 0
    capture_most_per_host: int = 5
    capture_delay: int = 10
    config_path: Path | None = None

    def __post_init__(self) -> None:
        try:
            zoneinfo.ZoneInfo(self.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
            raise SettingsError(f"timezone: {self.timezone!r} is not an IANA zone such as Asia/Shanghai") from error
        if self.jurisdiction and not (
            len(self.jurisdiction) == 2 and self.jurisdiction.isascii() and self.jurisdiction.isupper()
        ):
            raise SettingsError(
                f"jurisdiction: {self.jurisdiction!r} is not an ISO 3166-1 code such as CN, nor EU or UK"
            )
        if self.threads < 1:
            raise SettingsError(f"threads: {self.threads} must be 1 or more")
        if self.max_cases < 0:
            raise SettingsError(f"max_cases: {self.max_cases} must be 0 (as each rule says) or more")
        if min(self.capture_most, self.capture_most_per_host, self.capture_delay) < 0:
            raise SettingsError("capture_most, capture_most_per_host and capture_delay must be 0 or more")
        if self.evidence_url and not self.evidence_url.startswith("s3://"):
            raise SettingsError("evidence_url: expected s3://bucket/prefix; a folder is named by `evidence`")
        if self.evidence_lock not in {"", "governance", "compliance"}:
            raise SettingsError(f"evidence_lock: {self.evidence_lock!r} is not governance or compliance")
        if bool(self.evidence_lock) != (self.evidence_lock_days > 0) or (self.evidence_lock and not self.evidence_url):
            raise SettingsError("evidence_lock and evidence_lock_days (1 or more) go together, and with evidence_url")

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.timezone)

    @property
    def lake_path(self) -> Path:
        return self.home / self.lake

    @property
    def evidence_path(self) -> Path:
        return self.home / self.evidence

    @property
    def audit_key_path(self) -> Path:
        return self.home / self.audit_key

    @property
    def casebook_url(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'casebook.db'}"

    @property
    def spill_path(self) -> Path:
        return self.home / "spill"


def find_config(start: Path | None = None) -> Path | None:
    """The `fangcuan.toml` that applies, or None."""
    explicit = os.environ.get("FANGCUAN_HOME")
    if explicit:
        path = Path(explicit) / CONFIG_NAME
        return path if path.is_file() else None
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(sys.prefix).parent):
        path = folder / CONFIG_NAME
        if path.is_file():
            return path
    return None


def load(home: Path | None = None) -> Settings:
    """Settings in force. Raises SettingsError naming the file and key that is wrong."""
    if home is not None:
        path: Path | None = home / CONFIG_NAME
        path = path if path and path.is_file() else None
    else:
        path = find_config()
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: {error}; expected TOML") from error
    known = {f.name: f for f in fields(Settings)}
    for key in values:
        if key not in known or key == "config_path":
            raise SettingsError(f"{path}: unknown setting {key!r}; known: {', '.join(sorted(known))}")
    base = home or (path.parent if path else Path(os.environ.get("FANGCUAN_HOME") or "var"))
    if "home" in values:
        base = (path.parent if path else Path()) / str(values["home"])
    for name in known:
        override = os.environ.get(f"FANGCUAN_{name.upper()}")
        if override and name not in {"home", "config_path"}:
            values[name] = override
    values["home"] = base.resolve()
    return _typed(values, path)


def _typed(values: dict[str, Any], path: Path | None) -> Settings:
    typed = dict(values)
    for name in ("lake", "evidence", "audit_key"):
        if name in typed:
            typed[name] = Path(str(typed[name]))
    for name in ("sources", "audit_places", "capture_allow"):
        if isinstance(listed := typed.get(name), str):
            typed[name] = tuple(part.strip() for part in listed.split(",") if part.strip())
        elif listed is not None:
            typed[name] = tuple(str(part) for part in listed)
    whole = ("capture_most", "capture_most_per_host", "capture_delay", "evidence_lock_days")
    for name in ("threads", "max_cases", *whole):
        try:
            typed[name] = int(typed[name]) if name in typed else getattr(Settings, name)
        except ValueError as error:
            raise SettingsError(f"{name}: {typed[name]!r} is not a whole number") from error
    typed["config_path"] = path
    return replace(Settings(home=typed.pop("home")), **typed)
