"""A setting that nothing reads is a promise nobody keeps."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import fangcuan
from fangcuan.settings import Settings, SettingsError

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


@pytest.mark.parametrize(
    ("jurisdiction", "right"), [("", True), ("CN", True), ("EU", True), ("cn", False), ("China", False)]
)
def test_a_jurisdiction_is_a_code(jurisdiction: str, right: bool, tmp_path: Path) -> None:
    if right:
        assert Settings(home=tmp_path, jurisdiction=jurisdiction).jurisdiction == jurisdiction
        return
    with pytest.raises(SettingsError, match="jurisdiction"):
        Settings(home=tmp_path, jurisdiction=jurisdiction)
