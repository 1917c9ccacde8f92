"""The diversion core: sightings against the custody of many serials, beside a bare scan and a pandas pipeline in one run.

`python benchmarks/diversion_core.py --serials 20_000_000 --sightings 500_000`. It writes lake files as a load would (24 units a
carton, cartons shipped to dealers, dealers with territories), then times what a night runs: the unit
`diversion.out_of_territory` over all sightings. The yardstick is a bare scan of the very Parquet columns the unit reads of
the custody relations: `select sum(hash(column)) …`. Seconds are the median of `--runs` warm runs; the peers run once.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb

from fangcuan.core.feeds import FEEDS
from fangcuan.detect.relations import Night, night_parameters
from fangcuan.detect.run import run_fact
from fangcuan.detect.units import load_units
from fangcuan.settings import Settings
from fangcuan.warehouse.custody import CUSTODY
from fangcuan.warehouse.engine import DuckEngine, quote
from fangcuan.warehouse.lake import lake_columns

NIGHT = dt.date(2026, 3, 31)
PER_CARTON = 24
DEALERS, REGIONS = 3000, 300
RESULTS = Path(__file__).parent / "results"


def generate(folder: Path, serials: int, sightings: int, foreign: float, settings: Settings) -> None:
    """Lake files of the relations the core reads, as a load writes them (sorted, zstd), in batches of 48 M serials."""
    done = folder / f"made-{serials}-{sightings}-{foreign}"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    unit = "'urn:epc:id:sgtin:6901234.000010.' || lpad(cast(u as varchar), 12, '0')"
    carton = f"'urn:epc:id:sscc:6901234.' || lpad(cast(u // {PER_CARTON} as varchar), 10, '0')"
    dealer = f"'DL-' || lpad(cast(hash(u // {PER_CARTON}) % {DEALERS} as varchar), 4, '0')"
    shipped = f"timestamptz '2026-01-05 00:00:00+00' + to_days(cast(hash(u // {PER_CARTON}) % 60 as integer))"
    with DuckEngine(settings) as engine:
        step = 48_000_000
        for number, start in enumerate(range(0, serials, step)):
            end = min(start + step, serials)
            engine.write_parquet(
                f"select {unit} as child_epc, {carton} as parent_epc, timestamptz '2026-01-01 00:00:00+00' as at, "
                f"true as put_in, 'agg-' || cast(u // {PER_CARTON} as varchar) as event_id, date '2026-01-02' as arrived_on, "
                f"'sgtin' as child_scheme, 'sscc' as parent_scheme "
                f"from range({start}, {end}) r(u) order by child_epc",
                folder / f"containment_steps/{number}.parquet",
            )
            engine.write_parquet(
                f"select {carton} as epc, {shipped} as at, 'shipping' as biz_step, {dealer} as partner_id, "
                f"'BRAND' as from_partner_id, 'SKU-' || cast(hash(u) % 40 as varchar) as sku, 'L1' as lot, "
                f"'ship-' || cast(u as varchar) as event_id, 'ship-' || cast(u as varchar) || '|c|item' as row_key, "
                f"date '2026-01-08' as arrived_on from range({start}, {end}, {PER_CARTON}) r(u) order by epc",
                folder / f"holding_steps/{number}.parquet",
            )
        columns = {
            "event_id": "'scan-' || cast(s as varchar)",
            "item_role": "'item'",
            "event_time": "timestamptz '2026-03-31 02:00:00+00'",
            "event_type": "'object'",
            "action": "'OBSERVE'",
            "epc": unit,
            "quantity": "1",
            "region_code": "'R' || lpad(cast(place as varchar), 3, '0')",
            "observer": "'consumer_scan'",
            "place_source": "'gps'",
            "latitude": "30 + place / 30.0",
            "longitude": "110 + place / 30.0",
            "accuracy_m": "50",
            "device_hash": "cast(hash(s, 3) % 1000000 as varchar)",
            "row_key": "'scan-' || cast(s as varchar) || '|item'",
            "event_date": f"date '{NIGHT}'",
            "arrived_on": f"date '{NIGHT}'",
        }
        listed = ", ".join(
            f"cast({columns.get(name, 'null')} as {kind}) as {quote(name)}"
            for name, kind in lake_columns(FEEDS["trace_events"]).items()
        )
        # Most goods are seen where they belong: in the region of the dealer their carton was shipped to.
        home = f"(hash(u // {PER_CARTON}) % {DEALERS}) % {REGIONS}"
        away = f"hash(s, 11) % 1000 < {round(1000 * foreign)}"
        rows = (
            f"select s, u, case when {away} then hash(s, 7) % {REGIONS} else {home} end as place "
            f"from (select s, cast(hash(s) % {serials} as bigint) as u from range({sightings}) r(s))"
        )
        engine.write_parquet(f"select {listed} from ({rows}) order by row_key", folder / "trace_events/0.parquet")
    done.touch()


class Lake:
    """Relation source over the generated files and a register of dealers."""

    def __init__(self, folder: Path):
        self._folder = folder

    def open_raw(self, engine: DuckEngine, name: str) -> None:
        if name in FEEDS:
            files = sorted((self._folder / name).glob("*.parquet"))
            engine.files_view(f"lake_{name}", lake_columns(FEEDS[name]), files)
        elif name in CUSTODY:
            engine.files_view(f"steps_{name}", CUSTODY[name][0], sorted((self._folder / name).glob("*.parquet")))
        else:
            self._master(engine, name)

    def _master(self, engine: DuckEngine, name: str) -> None:
        from fangcuan.core.masters import MASTERS
        from fangcuan.warehouse.engine import contract_types

        types = {**contract_types(MASTERS[name]), "recorded_at": "timestamptz"}
        known = {
            "regions": (
                f"range({REGIONS}) r(i)",
                {
                    "region_code": "'R' || lpad(cast(i as varchar), 3, '0')",
                    "level": "'prefecture'",
                    "latitude": "30 + i / 30.0",
                    "longitude": "110 + i / 30.0",
                },
            ),
            "partners": (
                f"range({DEALERS}) r(i)",
                {"partner_id": "'DL-' || lpad(cast(i as varchar), 4, '0')", "name": "'dealer'", "kind": "'dealer'"},
            ),
            "territories": (
                f"range({DEALERS}) r(i)",
                {
                    "grant_id": "'G' || i",
                    "partner_id": "'DL-' || lpad(cast(i as varchar), 4, '0')",
                    "region_code": f"'R' || lpad(cast(i % {REGIONS} as varchar), 3, '0')",
                    "scope": "'all'",
                    "valid_from": "date '2025-01-01'",
                },
            ),
            "products": (
                "range(40) r(i)",
                {
                    "sku": "'SKU-' || i",
                    "name": "'product'",
                    "product_line": "'L' || (i % 4)",
                    "valid_from": "date '2025-01-01'",
                },
            ),
        }
        source, values = known.get(name, ("range(0) r(i)", {}))
        keys = [column for column in MASTERS[name].key if column != "recorded_at"]
        listed = ", ".join(f"cast({values.get(n, 'null')} as {kind}) as {quote(n)}" for n, kind in types.items())
        key = " || '|' || ".join(f"coalesce(cast({quote(column)} as varchar), '')" for column in keys)
        engine.table(
            f"recorded_{name}",
            f"select *, {key} as business_key, md5(cast(t as varchar)) as row_digest from (select {listed} from {source}) t",
        )


def core(folder: Path, settings: Settings, out: Path) -> dict[str, Any]:
    """One run of the unit as a night runs it; seconds and rows."""
    units = load_units()
    unit = units["diversion.out_of_territory"]
    facts = {key: item.rule for key, item in units.items() if item.rule.role == "fact"}
    started = time.monotonic()
    with DuckEngine(settings) as engine:
        night = Night(engine, Lake(folder), facts, night_parameters(NIGHT, NIGHT - dt.timedelta(days=1), settings))
        rows = run_fact(night, unit, out)
    return {"seconds": time.monotonic() - started, "rows": rows, "unit_digest": unit.digest}


def scan(folder: Path, settings: Settings) -> float:
    """The yardstick: a bare scan of the same columns of the same files."""
    started = time.monotonic()
    with DuckEngine(settings) as engine:
        for name, columns in (
            ("containment_steps", ("child_epc", "parent_epc", "parent_scheme", "at", "put_in", "event_id")),
            ("holding_steps", ("epc", "at", "biz_step", "partner_id", "sku", "lot", "event_id", "row_key")),
            ("trace_events", ("epc", "event_time", "row_key", "region_code", "observer", "latitude", "longitude")),
        ):
            sums = ", ".join(f"sum(hash({quote(column)}))" for column in columns)
            engine.execute(f"select {sums} from read_parquet('{folder}/{name}/*.parquet')").fetchall()
    return time.monotonic() - started


PANDAS = """
import sys, time, glob, pandas as pd
folder = sys.argv[1]
started = time.monotonic()
def read(name, columns):
    return pd.concat([pd.read_parquet(p, columns=columns) for p in sorted(glob.glob(f"{folder}/{name}/*.parquet"))])
units = read("containment_steps", ["child_epc", "parent_epc"])
held = read("holding_steps", ["epc", "at", "partner_id"])
seen = read("trace_events", ["epc", "event_time", "region_code"])
found = seen.merge(units, left_on="epc", right_on="child_epc").merge(held, left_on="parent_epc", right_on="epc")
found = found[found["at"] <= found["event_time"]].sort_values("at").groupby("child_epc").tail(1)
print(time.monotonic() - started, len(found))
"""


def pandas_peer(folder: Path, limit_bytes: int) -> dict[str, Any]:
    """The merge pipeline a user would write, in a process of its own under the same memory bound; joins only."""

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))

    done = subprocess.run(
        [sys.executable, "-c", PANDAS, str(folder)], capture_output=True, text=True, preexec_fn=bounded, check=False
    )
    if done.returncode:
        return {"outcome": "out of memory" if "Memory" in done.stderr or done.returncode < 0 else done.stderr[-300:]}
    seconds, rows = done.stdout.split()
    return {"outcome": "done", "seconds": float(seconds), "rows": int(rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serials", type=int, default=20_000_000)
    parser.add_argument("--sightings", type=int, default=500_000)
    parser.add_argument("--foreign", type=float, default=0.1, help="share of the sightings in a region drawn at random")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", default="6GB")
    parser.add_argument("--folder", type=Path, default=Path("var/bench"))
    parser.add_argument("--no-pandas", action="store_true")
    parser.add_argument("--only-generate", action="store_true", help="write the files and end")
    given = parser.parse_args()
    home = given.folder.resolve()
    settings = Settings(home=home, memory_limit=given.memory, threads=os.cpu_count() or 2)
    folder = home / f"core-{given.serials}"
    if given.only_generate:
        generate(folder, given.serials, given.sightings, given.foreign, settings)
        return
    # In a process of its own, so that the peak memory stated is that of the night, not of making the files.
    subprocess.run([sys.executable, *sys.argv, "--only-generate"], check=True)
    scans = [scan(folder, settings) for _ in range(given.runs + 1)][1:]
    runs = [core(folder, settings, home / "facts.parquet") for _ in range(given.runs + 1)][1:]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, bare = statistics.median(run["seconds"] for run in runs), statistics.median(scans)
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    peer = {"outcome": "not run"} if given.no_pandas else pandas_peer(folder, 20 * 2**30)
    result = {
        "what": "diversion core against a bare scan of the same columns",
        "serials": given.serials,
        "sightings": given.sightings,
        "share_in_a_random_region": given.foreign,
        "rows": runs[0]["rows"],
        "unit_digest": runs[0]["unit_digest"],
        "core_seconds": round(seconds, 2),
        "scan_seconds": round(bare, 2),
        "ratio": round(seconds / bare, 2),
        "must_reach": 4.0,
        "bytes_per_serial": round(size / given.serials, 2),
        "peak_memory_gb": round(peak, 2),
        "memory_limit": given.memory,
        "runs": given.runs,
        "pandas": peer,
        "seconds_of_each_run": [round(run["seconds"], 2) for run in runs],
        "seconds_of_each_scan": [round(each, 2) for each in scans],
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "duckdb": duckdb.__version__,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"diversion_core_{given.serials // 1_000_000}M.json"
    path.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2, sort_keys=True))


if __name__ == "__main__":
    main()
