"""A setting that nothing reads is a promise nobody keeps."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import fangcuan
from fangcuan.settings import Settings

#: Settings that are read through a property of another name.
THROUGH = {
    "database_url": "casebook_url",
    "lake": "lake_path",
    "evidence": "evidence_path",
    "audit_key": "audit_key_path",
}


def test_every_setting_is_read_by_something() -> None:
    package = Path(fangcuan.__file__).parent
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in package.rglob("*.py") if path != package / "settings.py"
    )
    read = set(re.findall(r"\bsettings\.(\w+)", text))
    assert {THROUGH.get(item.name, item.name) for item in fields(Settings)} <= read
