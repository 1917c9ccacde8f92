"""A world small enough to be judged in a second, homes on both databases, and nights run in processes that can be killed."""

from __future__ import annotations

import csv
import datetime as dt
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fangcuan.cases.history.digests import digests
from fangcuan.cases.history.verification import verify
from fangcuan.core import failpoints
from fangcuan.flow.approve import approve_shipped
from fangcuan.flow.installation import Installation, initialise
from fangcuan.flow.nightly import judge_night
from fangcuan.ingest import gate  # noqa: F401 - loads Great Expectations once, before processes are forked

FIRST = dt.date(2026, 3, 18)
NIGHTS = [FIRST + dt.timedelta(days=n) for n in range(4)]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def _event(event_id: str, time: str, step: str, epc: str, **more: Any) -> dict[str, Any]:
    event_type = "aggregation" if step == "packing" else "object"
    action = "ADD" if step in {"packing", "commissioning"} else "OBSERVE"
    row = {"event_id": event_id, "event_time": f"{time}+08:00", "event_type": event_type, "action": action, "epc": epc}
    return {**row, "biz_step": step if step != "scan" else "", **more}


def build_world(folder: Path, cartons: int = 6, units: int = 4, diverters: tuple[str, ...] = ("D1",)) -> Path:
    """Cartons of dealers D1 (Nanjing) and D2 (Zhengzhou); units of all but one carton of `diverters` are read in the other's
    territory, those of the others at home, at the same hours.
    """
    master = folder / "master"
    regions = [("320100", 32.06, 118.80), ("410100", 34.75, 113.62)]
    _write(
        master / "regions.csv",
        [{"region_code": c, "level": "prefecture", "latitude": a, "longitude": o} for c, a, o in regions],
    )
    _write(
        master / "partners.csv",
        [
            {"partner_id": "BRAND", "name": "Brand", "kind": "brand", "region_code": ""},
            {"partner_id": "D1", "name": "Dealer 南京", "kind": "dealer", "region_code": "320100"},
            {"partner_id": "D2", "name": "Dealer 郑州", "kind": "dealer", "region_code": "410100"},
        ],
    )
    product = {"sku": "S1", "name": "Baijiu", "product_line": "baijiu", "units_per_case": 6, "valid_from": "2025-01-01"}
    _write(master / "products.csv", [product])
    grant = {
        "scope": "all",
        "jurisdiction": "CN",
        "legal_basis": "contract",
        "approved_by": "ops",
        "valid_from": "2025-01-01",
    }
    _write(
        master / "territories.csv",
        [
            {"grant_id": "G1", "partner_id": "D1", "region_code": "320100", **grant},
            {"grant_id": "G2", "partner_id": "D2", "region_code": "410100", **grant},
        ],
    )
    history: list[dict[str, Any]] = []
    scans: dict[dt.date, list[dict[str, Any]]] = {night: [] for night in NIGHTS}
    for dealer, home, away in (("D1", "320100", "410100"), ("D2", "410100", "320100")):
        for c in range(cartons):
            carton = f"urn:epc:id:sscc:6901234.{dealer[1]}{c:09d}"
            for u in range(units):
                unit = f"urn:epc:id:sgtin:6901234.000010.{dealer[1]}{c:03d}{u:03d}"
                history.append(
                    _event(
                        f"m{dealer}{c}",
                        "2026-03-01T08:00:00",
                        "commissioning",
                        unit,
                        partner_id="BRAND",
                        sku="S1",
                        lot="L1",
                    )
                )
                history.append(_event(f"p{dealer}{c}", "2026-03-01T09:00:00", "packing", unit, parent_epc=carton))
                night = NIGHTS[(c + u) % len(NIGHTS)]
                seen = away if dealer in diverters and c < cartons - 1 else home
                scans[night].append(
                    _event(
                        f"c{dealer}{c}{u}",
                        f"{night}T{10 + u}:00:00",
                        "scan",
                        unit,
                        observer="consumer_scan",
                        region_code=seen,
                        device_hash=f"phone{c}{u}",
                    )
                )
            ship = {"source_partner_id": "BRAND", "destination_partner_id": dealer, "sku": "S1"}
            history.append(_event(f"s{dealer}{c}", f"2026-03-0{2 + c % 5}T09:00:00", "shipping", carton, **ship))
    feed = folder / "feeds" / "trace_events"
    _write(feed / f"{FIRST}.csv", [*history, *scans[FIRST]])
    for night in NIGHTS[1:]:
        _write(feed / f"{night}.csv", scans[night])
    return folder


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def judged_once(tmp_path_factory: pytest.TempPathFactory, small_world: Path) -> Path:
    """A home with all nights of the small world judged; to be copied, not to be changed."""
    home = initialise(tmp_path_factory.mktemp("judged") / "home", memory_limit="1GB")
    approve_shipped(home)
    judge(home, small_world)
    home.engine.dispose()
    return home.settings.home


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def new_home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Makes installations on one database kind."""
    made: list[Callable[[], None]] = []

    def make(name: str = "home", **settings: Any) -> Installation:
        url = None
        if request.param == "postgresql":
            url, put_away = request.getfixturevalue("postgresql_copies")()
            made.append(put_away)
        else:
            # Migrated already, so that `initialise` finds nothing to do.
            (tmp_path / name).mkdir(exist_ok=True)
            shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / name / "casebook.db")
        installation = initialise(tmp_path / name, database_url=url, memory_limit="1GB", **settings)
        approve_shipped(installation)
        return installation

    yield make
    for put_away in made:
        put_away()


def state(installation: Installation) -> dict[str, Any]:
    """What two runs are compared by: digests of findings, cases and counters, and whether the chain holds."""
    verification = verify(installation.engine)
    assert verification.exit_code == 0, verification.message
    return digests(installation.engine)


def judge(installation: Installation, world: Path, nights: list[dt.date] | None = None) -> list[dict[str, Any]]:
    return [judge_night(installation, night, world=world) for night in nights or NIGHTS]


def _child(home: Path, world: Path, nights: list[dt.date], failpoint: str | None) -> None:
    from fangcuan.flow.installation import open_installation

    failpoints._armed = failpoints._parse(failpoint or "")
    failpoints._visits = 0
    judge(open_installation(home), world, nights)
    os._exit(0)


def judge_in_process(home: Path, world: Path, *, failpoint: str | None = None, kill_after: float | None = None) -> int:
    """Judge all nights in a forked process; gives its exit code, -9 when it was killed."""
    process = multiprocessing.get_context("fork").Process(target=_child, args=(home, world, NIGHTS, failpoint))
    process.start()
    if kill_after is not None:
        time.sleep(kill_after)
        if process.is_alive() and process.pid:
            os.kill(process.pid, signal.SIGKILL)
    process.join(600)
    assert process.exitcode is not None, "the night did not end"
    return process.exitcode


@pytest.fixture(scope="session")
def flow_tools() -> dict[str, Any]:
    """Helpers for the tests of this folder, which cannot import each other."""
    return {
        "state": state,
        "judge": judge,
        "judge_in_process": judge_in_process,
        "nights": NIGHTS,
        "build_world": build_world,
    }
