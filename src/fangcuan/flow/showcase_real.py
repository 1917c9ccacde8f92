"""`make run-real`: the nights of the real public sets, with the cases they file."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from fangcuan.cases.history.verification import verify
from fangcuan.cases.views import CaseFilter, list_cases, show_case
from fangcuan.flow.explain import render
from fangcuan.flow.real import DataMissing, available, installed, run_set

#: Cases of a set that are shown; the rest is one command away.
SHOWN = 3


def real(home: Path, out: Console | None = None) -> int:
    """Run every set that is there; gives the exit code (1 when data or a unit is missing)."""
    out = out or Console(highlight=False)
    try:
        sets = available()
    except DataMissing as error:
        out.print(f"[red]error[/red] {error}")
        return 1
    failed = False
    for set_id in sets:
        for step in run_set(home, set_id):
            if step["kind"] == "set":
                out.print(f"\n[bold]{set_id}[/]  {step['about_en']}")
            elif step["kind"] == "pull":
                counts = f"{step['rows_loaded']:,} rows loaded, {step['rows_quarantined']:,} quarantined"
                out.print(
                    f"   {step['source_id']}: {step['state']}, {counts}, {float(step['seconds']):.0f} s", markup=False
                )
            elif step["kind"] == "night" and not step.get("again"):
                failed |= bool(step.get("failed_units"))
                bad = f"; failed: {', '.join(step['failed_units'])}" if step.get("failed_units") else ""
                out.print(
                    f"   night {step['night']}: {step['findings']:,} findings, {step['cases_opened']:,} cases{bad}"
                )
            elif step["kind"] == "done":
                out.print(f"   {step['seconds']:.0f} s, {step['peak_memory_bytes'] / 2**30:.1f} GiB at most so far")
        _cases(home, set_id, out)
    out.print("\nwhere to look next")
    for set_id in sets:
        out.print(f"  .venv/bin/fangcuan cases list --home {home / set_id}", soft_wrap=True)
    return int(failed)


def _cases(home: Path, set_id: str, out: Console) -> None:
    place = installed(home, set_id)
    every = list_cases(place.engine)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("case", "subject", "what was seen"):
        table.add_column(heading, overflow="fold")
    for item in list_cases(place.engine, CaseFilter(limit=SHOWN)):
        case = show_case(place.engine, place.evidence, item["number"], render)
        table.add_row(item["number"], item["subject"]["id"], case["explanation"]["en"] if case["explanation"] else "")
    out.print(f"   {len(every):,} cases in all, audit chain {verify(place.engine).exit_code.name}")
    if every:
        out.print(table)
