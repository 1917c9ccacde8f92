"""`cases next` for an analyst of one district, in a casebook of many cases elsewhere.

`python benchmarks/claim_next.py --cases 100_000`. Every case is about a partner in one of 2,000 districts of 20 provinces, open
and held by nobody; ten of them, the least urgent ones, lie in the analyst's district. Seconds are the median of `--runs`. The
yardstick asks one case after the other whether he may have it, most urgent first, as `--tried` of them show: what claiming cost
before the database was asked which cases his role reaches. `--url` names an empty PostgreSQL database to use instead of a
SQLite file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert, true

from fangcuan.cases import executor
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.grants import grant_role
from fangcuan.store import migrations
from fangcuan.store.casework import case_file, case_machine, filed_finding, finding
from fangcuan.store.database import open_engine, read, write
from fangcuan.store.masters import MASTER_TABLES

RESULTS = Path(__file__).parent / "results"
PROVINCES, DISTRICTS, PARTNERS = 20, 100, 5_000
MINE, REACHED = "D00-00", 10
MOMENT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
NIGHT = dt.date(2026, 3, 14)
ANALYST = Actor("user:ling")


def generate(engine: Engine, cases: int) -> None:
    migrations.upgrade(engine)
    _masters(engine)
    step = 10_000
    for start in range(0, cases, step):
        rows = [_case(number, cases) for number in range(start, min(cases, start + step))]
        with write(engine) as connection:
            for table, of in ((finding, 0), (case_file, 1), (case_machine, 2), (filed_finding, 3)):
                connection.execute(insert(table), [row[of] for row in rows])
    people.add_first_admin(engine, "boss", name="Boss")
    people.add_user(engine, Actor("user:boss"), "ling", name="Ling")
    grant_role(engine, Actor("user:boss"), "ling", "analyst", region=MINE)
    with engine.connect() as connection:
        connection.exec_driver_sql("analyze")
        connection.commit()


def _masters(engine: Engine) -> None:
    def row(table: str, key: str, **values: Any) -> dict[str, Any]:
        empty = dict.fromkeys(MASTER_TABLES[table].c.keys())
        told = {"row_digest": f"{table}{key}", "business_key": key, "source_id": "x", "receipt_id": "x"}
        return {**empty, **told, "recorded_at": MOMENT, **values}

    regions = [row("regions", f"P{p:02d}", region_code=f"P{p:02d}", level="province") for p in range(PROVINCES)]
    regions += [
        row("regions", code, region_code=code, parent_code=f"P{p:02d}", level="district")
        for p in range(PROVINCES)
        for code in (f"D{p:02d}-{d:02d}" for d in range(DISTRICTS))
    ]
    partners = [
        row("partners", name, partner_id=name, name=name, kind="dealer", region_code=code)
        for name, code in ((f"partner{n:05d}", _district(n)) for n in range(PARTNERS))
    ]
    with write(engine) as connection:
        connection.execute(insert(MASTER_TABLES["regions"]), regions)
        connection.execute(insert(MASTER_TABLES["partners"]), partners)


def _district(partner: int) -> str:
    """Partner 0 sits in the analyst's district, all others elsewhere."""
    if partner == 0:
        return MINE
    place = 1 + partner % (PROVINCES * DISTRICTS - 1)
    return f"D{place // DISTRICTS:02d}-{place % DISTRICTS:02d}"


def _case(number: int, cases: int) -> tuple[dict[str, Any], ...]:
    mine = number >= cases - REACHED
    name, digest = f"FC-2026-{number:06d}", f"{number:064x}"
    subject = f"partner{0 if mine else 1 + number % (PARTNERS - 1):05d}"
    severity = "low" if mine else ("high", "medium", "low")[number % 3]
    about = {"family": "diversion", "subject_kind": "partner", "subject_id": subject}
    found = dict.fromkeys(finding.c.keys()) | {
        **about,
        **dict.fromkeys(("finding_id", "reported_id", "unit_digest", "evidence_root", "evidence_sha256"), digest),
        "unit_id": "diversion.x",
        "role": "case",
        "region_code": _district(number),
        "severity": severity,
        "window_start": MOMENT,
        "window_end": MOMENT,
        "score": 1.0,
        "explanation_code": "x",
        "state": "filed",
        "explanation_params": {},
        "observation_ids": [],
        "fingerprint_keys": {},
        "grouping": {},
        "evidence": [],
        "first_seen": NIGHT,
        "last_seen": NIGHT,
    }
    opened = dict.fromkeys(case_file.c.keys()) | {
        **about,
        "number": name,
        "year": 2026,
        "serial": number,
        "case_key": f"v1:{digest}",
        "epoch": 1,
        "grouping": {},
        "grouping_version": 1,
        "opened_night": NIGHT,
        "storm": False,
        "status": "new",
        "is_open": True,
        "wording": "signal",
        "allowed_action": "observe",
        "priority": severity,
        "regressed": False,
        "version": 1,
    }
    machine = {"number": name, "severity": severity, "findings": 1, "occurrences": 1, "seen_after_decision": 0}
    machine |= {"window_start": MOMENT, "window_end": MOMENT, "last_finding_night": NIGHT, "evidence_root": digest}
    member = {"number": name, "finding_id": digest, "support": False, "attached_night": NIGHT}
    return found, opened, machine, member


def measure(engine: Engine, cases: int, runs: int, tried: int) -> dict[str, Any]:
    taken = []

    def claim() -> None:
        done = executor.claim_next(engine, ANALYST, f"key{len(taken)}")
        assert done is not None
        assert int(done.case[-6:]) >= cases - REACHED, done
        taken.append(done.case)

    claiming = [_timed(claim) for _ in range(runs)]
    assert len(set(taken)) == runs
    return {"claim_seconds": statistics.median(claiming), "one_by_one_seconds": _one_by_one(engine, cases, tried)}


def _one_by_one(engine: Engine, cases: int, tried: int) -> float:
    """Seconds to ask of every case whether it is the analyst's, from those of the first `tried`, and to list them."""
    from fangcuan.cases.people.access import grants_for
    from fangcuan.cases.people.areas import area_of
    from fangcuan.cases.urgency import unclaimed

    def ask() -> None:
        with read(engine) as connection:
            numbers = unclaimed(connection, ["new"], MOMENT, true())
            for _, number in zip(range(tried), numbers, strict=False):
                case = executor._load(connection, number)
                grants_for(connection, ANALYST, ["analyst"], dt.datetime.now(dt.UTC))
                area_of(connection, case)

    return _timed(ask) * cases / tried


def _timed(what: Callable[[], None]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tried", type=int, default=400)
    parser.add_argument("--url")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(given.url or f"sqlite:///{folder}/casebook.db")
        generate(engine, given.cases)
        figures = measure(engine, given.cases, given.runs, given.tried)
        database = engine.dialect.name
        engine.dispose()
    result = {
        "benchmark": "claim_next",
        "database": database,
        "cases": given.cases,
        "reached": REACHED,
        "runs": given.runs,
        **figures,
        "ratio": figures["one_by_one_seconds"] / figures["claim_seconds"],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"claim_next_{database}_{given.cases // 1000}k.json"
    path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
