"""Overlays to write detectors into, and one small world with nights judged before and after training."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fangcuan.content.roots import shipped_root
from fangcuan.flow.approve import approve_shipped
from fangcuan.flow.installation import Installation, initialise
from fangcuan.flow.nightly import judge_night
from fangcuan.flow.training import train_detector
from fangcuan.simulate.spec import preset
from fangcuan.simulate.worlds import simulate

PRICE = "price.price_series_outlier"
PARTNER = "diversion.partner_month_outlier"
BEFORE, AFTER, LATER = dt.date(2026, 4, 12), dt.date(2026, 4, 19), dt.date(2026, 4, 20)


@pytest.fixture
def overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty private content folder."""
    folder = tmp_path / "private"
    (folder / "detectors").mkdir(parents=True)
    monkeypatch.setenv("FANGCUAN_CONTENT", str(folder))
    return folder


@pytest.fixture
def add_detector(overlay: Path) -> Callable[..., Path]:
    """Copies a shipped detector into the overlay under another name, with texts replaced per file."""

    def add(name: str, *changes: tuple[str, str, str], family: str = "price") -> Path:
        source = shipped_root() / "detectors" / "price_series_outlier"
        folder = overlay / "detectors" / name
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
        _replace(folder / "detector.yml", f"id: {PRICE}", f"id: {family}.{name}")
        for file, old, new in changes:
            _replace(folder / file, old, new)
        return folder

    return add


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} does not say {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@dataclass(frozen=True)
class Trained:
    """A home whose nights BEFORE and AFTER are judged, with training in between, and what each step gave."""

    home: Installation
    world: Path
    before: dict[str, Any]
    trainings: dict[str, dict[str, Any]]
    after: dict[str, Any]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("trained")
    spec = preset(
        "tiny",
        start=dt.date(2026, 3, 9),
        nights=50,
        marketplace_sellers=20,
        trace_history_days=30,
        schemes={"price.below_floor": 3, "diversion.neighbour_cartons": 1},
    )
    simulate(spec, folder / "world")
    home = initialise(folder / "home", memory_limit="1GB")
    approve_shipped(home)
    before = judge_night(home, BEFORE, world=folder / "world")
    trainings = {key: train_detector(home, key) for key in (PRICE, PARTNER)}
    after = judge_night(home, AFTER, world=folder / "world")
    yield Trained(home, folder / "world", before, trainings, after)
    home.engine.dispose()
