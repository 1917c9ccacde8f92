"""`audit verify` over a long history, beside a bare pass over the same bytes in one run.

`python benchmarks/audit_verify.py --events 1_000_000`. It writes a casebook whose events are those of filed nights, repeated with
other numbers, and three checkpoints; then times what `fangcuan audit verify` does: the chain alone (every link, the Merkle
roots at every checkpoint), and the whole (the tables rebuilt from the events as well). The yardstick reads the same rows and
takes one sha256 of each body. Seconds are the median of `--runs` warm runs. `--url` names a PostgreSQL database to use instead
of a SQLite file; it is emptied first.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from fangcuan.cases.history import checkpoints, keys
from fangcuan.cases.history.chain import stream
from fangcuan.cases.history.digests import night_digest, row_digest, spelled
from fangcuan.cases.history.events import EventDraft, append
from fangcuan.cases.history.verification import verify
from fangcuan.store import migrations
from fangcuan.store.casework import case_file, case_machine, filed_finding, filing_night, finding, finding_occurrence
from fangcuan.store.database import open_engine, read, write

RESULTS = Path(__file__).parent / "results"
STEP = 50_000
NIGHT = "2026-03-14"
MOMENT = "2026-03-01T00:00:00.000000Z"
#: Findings events per case after the one that opens it: a case that is looked at for weeks.
PER_CASE = 20


def generate(engine: Engine, events: int, key: keys.SigningKey) -> None:
    """Cases with one finding each: opened, then reported on `PER_CASE` nights; tables as the last event of each says."""
    migrations.upgrade(engine)
    with read(engine) as connection:
        if connection.exec_driver_sql("select max(seq) from event").scalar():
            return
    case, marks = 0, {events // 3, 2 * events // 3}
    written = 0
    while written < events:
        drafts: list[EventDraft] = []
        rows: dict[str, list[dict[str, Any]]] = {"file": [], "machine": [], "finding": [], "member": [], "seen": []}
        while len(drafts) < min(STEP, events - written):
            case += 1
            _case(case, drafts, rows, min(PER_CASE, events - written - len(drafts) - 1))
        with write(engine) as connection:
            connection.execute(finding.insert(), rows["finding"])
            connection.execute(case_file.insert(), rows["file"])
            connection.execute(case_machine.insert(), rows["machine"])
            connection.execute(filed_finding.insert(), rows["member"])
            connection.execute(finding_occurrence.insert(), rows["seen"])
            append(connection, drafts)
        written += len(drafts)
        for mark in [mark for mark in marks if mark <= written]:
            marks.discard(mark)
            checkpoints.make(engine, key, keys=[key.public])
    _night(engine)
    checkpoints.make(engine, key, keys=[key.public])


def _night(engine: Engine) -> None:
    """The event of the night that reported the findings."""
    day = dt.date.fromisoformat(NIGHT)
    counts: dict[str, Any] = {column.name: 0 for column in filing_night.c if column.name != "night"}
    with write(engine) as connection:
        connection.execute(filing_night.insert().values(night=day, **counts))
        data = {"counts": counts, "units": [], "occurrences": night_digest(connection, day)}
        append(connection, [EventDraft("night.filed", "service:filing", data, night=day)])


def _case(number: int, drafts: list[EventDraft], rows: dict[str, list[dict[str, Any]]], nights: int) -> None:
    name, digest = f"FC-2026-{number:06d}", f"{number:064x}"
    day, moment = dt.date.fromisoformat(NIGHT), dt.datetime.fromisoformat(MOMENT)
    opened = {
        "number": name,
        "year": 2026,
        "serial": number,
        "case_key": f"v1:{digest}",
        "epoch": 1,
        "family": "diversion",
        "subject_kind": "partner",
        "subject_id": f"DL-{number:06d}",
        "product_line": "baijiu",
        "sku": None,
        "period": "2026Q1",
        "grouping": {"product_line": "baijiu"},
        "grouping_version": 1,
        "opened_night": day,
        "predecessor": None,
        "storm": False,
        "status": "new",
        "is_open": True,
        "outcome": None,
        "wording": "signal",
        "allowed_action": "observe",
        "priority": "high",
        "assignee": None,
        "regressed": False,
        "decision_cutoff": None,
        "decision_evidence_root": None,
        "version": 1,
    }
    drafts.append(EventDraft("case.opened", "service:filing", {"case": opened, "links": []}, case=name, night=day))
    machine: dict[str, Any] = {
        "severity": "high",
        "findings": 1,
        "occurrences": nights,
        "seen_after_decision": 0,
        "window_start": moment,
        "window_end": moment + dt.timedelta(days=31),
        "last_finding_night": day,
        "evidence_root": digest,
    }
    for night in range(nights):
        reported = {
            "finding_id": digest,
            "reported_id": digest,
            "evidence_root": digest,
            "evidence_sha256": digest,
            "fresh": night == 0,
            "support": False,
        }
        after = {**machine, "occurrences": night + 1}
        data = {"action": "attach", "findings": [reported], "after": after}
        drafts.append(EventDraft("case.findings", "service:filing", data, case=name, night=day))
    if not nights:
        return
    rows["file"].append(opened)
    rows["machine"].append({"number": name, **machine})
    rows["member"].append({"number": name, "finding_id": digest, "support": False, "attached_night": day})
    found: dict[str, Any] = dict.fromkeys(column.name for column in finding.c)
    found |= {
        "finding_id": digest,
        "reported_id": digest,
        "unit_id": "u",
        "unit_digest": digest,
        "role": "case",
        "family": "diversion",
        "subject_kind": "partner",
        "subject_id": "x",
        "window_start": moment,
        "window_end": moment,
        "score": 1.0,
        "severity": "high",
        "explanation_code": "x",
        "explanation_params": {},
        "observation_ids": [],
        "fingerprint_keys": {},
        "grouping": {},
        "evidence": [],
        "evidence_root": digest,
        "evidence_sha256": digest,
        "state": "filed",
        "first_seen": day,
        "last_seen": day,
    }
    rows["finding"].append(found)
    seen = {column.name: found[column.name] for column in finding_occurrence.c if column.name in found}
    seen |= {"night": day, "run_id": "run", "row_sha256": row_digest(spelled(found))}
    rows["seen"].append(seen)


def bare(engine: Engine) -> None:
    """The yardstick: the same rows by the same cursor, one sha256 of each body."""
    with read(engine) as connection, stream(connection) as rows:
        for _, _, _, body in rows:
            hashlib.sha256(body).digest()


def timed(work: Callable[[], object], runs: int) -> tuple[float, float]:
    """Median seconds, and median seconds of this process on a core: what is left when others use the machine."""
    seconds, busy = [], []
    for _ in range(runs + 1):
        started, before = time.monotonic(), time.process_time()
        work()
        seconds.append(time.monotonic() - started)
        busy.append(time.process_time() - before)
    return statistics.median(seconds[1:]), statistics.median(busy[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("var/bench"))
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    folder = given.folder.resolve()
    path = folder / "audit.key"
    if not path.exists():
        keys.generate(path, "example.com/benchmark")
    key = keys.load(path)
    engine = open_engine(given.url or f"sqlite:///{folder / f'audit-{given.events}.db'}")
    if given.url:
        migrations.downgrade(engine)
    generate(engine, given.events, key)
    found = verify(engine, keys=[key.public])
    if found.exit_code or found.checkpoints < 1:
        raise SystemExit(f"the generated history does not verify: {found.message}")
    yardstick, yardstick_busy = timed(lambda: bare(engine), given.runs)
    chain, chain_busy = timed(lambda: verify(engine, keys=[key.public], projected=False), given.runs)
    whole, whole_busy = timed(lambda: verify(engine, keys=[key.public]), max(1, given.runs // 2))
    with read(engine) as connection:
        size = connection.exec_driver_sql("select sum(length(body)) from event").scalar()
    result = {
        "what": "audit verify against a bare pass over the same rows with one sha256 each",
        "database": engine.dialect.name,
        "events": found.events,
        "rows_compared": found.rows,
        "checkpoints": found.checkpoints,
        "body_bytes_mean": round(int(size or 0) / found.events),
        "bare_seconds": round(yardstick, 2),
        "chain_seconds": round(chain, 2),
        "chain_events_per_second": round(found.events / chain),
        "must_reach_events_per_second": 200_000,
        "chain_core_seconds": round(chain_busy, 2),
        "chain_events_per_core_second": round(found.events / chain_busy),
        "load_average": round(os.getloadavg()[0], 1),
        "ratio": round(chain / yardstick, 2),
        "ratio_core": round(chain_busy / yardstick_busy, 2),
        "whole_seconds": round(whole, 2),
        "whole_events_per_second": round(found.events / whole),
        "whole_core_seconds": round(whole_busy, 2),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "runs": given.runs,
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
    }
    RESULTS.mkdir(exist_ok=True)
    name = f"audit_verify_{engine.dialect.name}_{given.events // 1000}k.json"
    (RESULTS / name).write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2, sort_keys=True))


if __name__ == "__main__":
    main()
