"""`make run` and `make run-real`: an installation of its own, nights judged, cases and their evidence shown."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import create_engine, select, text

from fangcuan.cases.history.verification import verify
from fangcuan.cases.views import list_cases, show_case
from fangcuan.detect.detectors import DetectorUnit, all_units
from fangcuan.flow.accounts import demo_accounts
from fangcuan.flow.approve import approve_shipped
from fangcuan.flow.explain import render
from fangcuan.flow.filing import shadow_words
from fangcuan.flow.installation import Installation, initialise
from fangcuan.flow.night import judged_nights, lake_engine
from fangcuan.flow.nightly import judge_night, nights_between
from fangcuan.flow.policies import approve_shipped_policies
from fangcuan.flow.score import score
from fangcuan.flow.training import train_detector
from fangcuan.store.catalogue import Run
from fangcuan.store.database import read

SOURCES = ("sample_masters", "sample_traces", "sample_field", "sample_documents", "sample_prices", "sample_sales")
#: The last nights go through Airflow, the others through the same flow in this process.
AIRFLOW_NIGHTS = 2

_terminal = sys.stdout.isatty()
out = Console(highlight=False, width=None if _terminal else 160)


class Erp:
    """The sample's ERP: a table that grows by the night, as a real one does."""

    def __init__(self, world: Path, path: Path):
        from fangcuan.simulate.serve import load_sql

        self.url = f"sqlite:///{path}"
        self._engine = create_engine(self.url)
        if not path.exists():
            load_sql(world, self.url)
            with self._engine.begin() as connection:
                connection.execute(text("create table if not exists clock (night text)"))
                connection.execute(
                    text(
                        "create view if not exists erp_sales_visible as select * from erp_sales "
                        "where arrived_on <= (select max(night) from clock)"
                    )
                )

    def reach(self, night: dt.date) -> None:
        """Let the table hold what had arrived by `night`."""
        with self._engine.begin() as connection:
            connection.execute(text("insert into clock values (:night)"), {"night": night.isoformat()})


@contextmanager
def services(world: Path, erp: Erp) -> Iterator[None]:
    """The sample's price service and ERP, for sources of this process and of those it starts."""
    from fangcuan.simulate.serve import DEFAULT_TOKEN, serve

    with serve(world) as server:
        given = {
            "FANGCUAN_SAMPLE_WORLD": str(world),
            "FANGCUAN_SAMPLE_URL": server.url,
            "FANGCUAN_SAMPLE_ERP": erp.url,
            "FANGCUAN_SECRET_SAMPLE_TOKEN": DEFAULT_TOKEN,
        }
        os.environ.update(given)
        try:
            yield
        finally:
            for name in given:
                os.environ.pop(name, None)


def sample(home: Path, preset: str = "sample", airflow_nights: int = AIRFLOW_NIGHTS) -> int:
    """Simulate (once), judge every night that is not judged yet, show the result; gives the exit code."""
    from fangcuan.simulate.spec import preset as named
    from fangcuan.simulate.worlds import simulate

    started = time.monotonic()
    world = home / "world"
    spec = named(preset)
    if not (world / "world.json").is_file():
        out.print(
            f"[bold]1[/]  simulating the sample world: {spec.nights} nights, truth kept apart in {_shown(world / 'truth')}"
        )
        shutil.rmtree(world, ignore_errors=True)
        simulate(spec, world)
    else:
        out.print(f"[bold]1[/]  the sample world lies in {_shown(world)}")
    installation = initialise(home, sources=list(SOURCES))
    approve_shipped(installation)
    approve_shipped_policies(installation)
    demo_accounts(installation)
    first = spec.start
    nights = nights_between(first, first + dt.timedelta(days=spec.nights - 1))
    erp = Erp(world, home / "erp.db")
    alone, scheduled = nights[: len(nights) - airflow_nights], nights[len(nights) - airflow_nights :]
    failed = False
    with services(world, erp):
        out.print(
            f"[bold]2[/]  judging {len(alone)} nights: traces from files, prices from a JSON API, sales from an ERP database"
        )
        results = _judge(installation, erp, alone)
        failed |= any(result.get("failed_units") for result in results)
        _train(installation)
        if not judged_nights(installation).issuperset(scheduled):
            out.print(
                f"[bold]3[/]  judging {len(scheduled)} nights through Airflow (scheduler, DAG processor, API server)"
            )
            failed |= not _through_airflow(installation, erp, scheduled)
        else:
            out.print(f"[bold]3[/]  the last {len(scheduled)} nights went through Airflow before")
    _cases(installation)
    _shadow(installation)
    _score(installation, world)
    verification = verify(installation.engine)
    out.print(f"\naudit chain: {verification.events:,} events, {verification.exit_code.name}")
    out.print(f"took {time.monotonic() - started:.0f} s\n")
    _where_next(home)
    return 1 if failed or verification.exit_code else 0


def _judge(installation: Installation, erp: Erp, nights: list[dt.date]) -> list[dict[str, Any]]:
    columns = (
        TextColumn("   "),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    results = []
    bars = Progress(*columns, console=out, transient=True, disable=not _terminal)
    with lake_engine(installation) as engine, bars as bar:
        task = bar.add_task("", total=len(nights))
        for night in nights:
            erp.reach(night)
            results.append(judge_night(installation, night, engine=engine))
            bar.update(task, advance=1, description=str(night))
            if not _terminal and (night.day % 10 == 1 or night == nights[-1]):
                out.print(f"   {night} judged")
    fresh = [result for result in results if not result.get("again")]
    opened = sum(result["cases_opened"] for result in fresh)
    out.print(f"   {len(fresh)} nights judged, {len(results) - len(fresh)} were before; {opened} cases opened")
    for result in fresh:
        for name in result["failed_units"]:
            out.print(f"   [red]{result['night']}: {name} failed[/]")
    return results


def _train(installation: Installation) -> None:
    """Fit the detectors on what the nights so far knew; the nights to come use them beside the rules."""
    for unit_id, unit in sorted(all_units().items()):
        if isinstance(unit, DetectorUnit):
            result = train_detector(installation, unit_id, None)
            out.print(
                f"   detector {unit_id}: {result['state']}" + (f", {result['message']}" if result["message"] else "")
            )


def _through_airflow(installation: Installation, erp: Erp, nights: list[dt.date]) -> bool:
    from fangcuan.flow.airflow_home import prepare
    from fangcuan.flow.airflow_run import run_nights

    def one_by_one() -> Iterator[str]:
        for night in nights:
            erp.reach(night)
            yield night.isoformat()

    place = installation.settings.home
    home = prepare(place / "airflow", env={"FANGCUAN_HOME": str(place)})
    outcomes = run_nights(one_by_one(), home, say=lambda line: out.print(f"   {line}", markup=False))
    return all(outcome.ok for outcome in outcomes) and len(outcomes) == len(nights)


def _cases(installation: Installation) -> None:
    items = list_cases(installation.engine)
    table = Table(title=f"\n{len(items)} cases", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in ("case", "family", "subject", "what was seen"):
        table.add_column(heading, overflow="fold")
    first: dict[str, Any] | None = None
    for item in items:
        case = show_case(installation.engine, installation.evidence, item["number"], render)
        first = first or case
        sentence = case["explanation"]["en"] if case["explanation"] else ""
        table.add_row(item["number"], item["family"], item["subject"]["id"], sentence)
    out.print(table)
    if first:
        finding = first["findings_detail"][0]
        rows = finding["evidence"].get("rows", [])
        out.print(
            f"\n[bold]{first['number']}[/] in full: {len(rows)} evidence rows, evidence root {first['evidence_root'][:16]}…"
        )
        out.print(f"  {finding['explanation']['zh']}", markup=False)
        for row in rows[:3]:
            shown = ", ".join(f"{k}={v}" for k, v in row["row"].items() if v is not None and k in _TELLING)
            out.print(f"  {row['relation']}: {shown}", markup=False)


def _shadow(installation: Installation) -> None:
    with read(installation.engine) as connection:
        counts = connection.execute(select(Run.counts).where(Run.state == "judged")).scalars().all()
    words = shadow_words(counts)
    if words:
        out.print(f"\nbeside the cases: {words}", markup=False)


_TELLING = (
    "event_time",
    "epc",
    "biz_step",
    "region_code",
    "destination_partner_id",
    "observed_at",
    "price",
    "platform",
    "day",
)


def _score(installation: Installation, world: Path) -> None:
    found = score(installation, world).as_dict()
    table = Table(
        title="\nagainst the truth of this world", title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for heading in ("family", "schemes", "caught", "missed", "cases", "true", "precision"):
        table.add_column(heading, overflow="fold")
    for family, item in found["families"].items():
        precision = "–" if item["precision"] is None else f"{item['precision']:.0%}"
        missed = ", ".join(item["missed"]) or "none"
        counts = (item["planted"], item["caught"], missed, item["cases"], item["true_cases"], precision)
        table.add_row(family, *(str(count) for count in counts))
    out.print(table)
    accused = found["innocents_accused"]
    names = ", ".join(f"{item['subject']} ({item['unit']})" for item in accused[:12])
    more = f" and {len(accused) - 12} more" if len(accused) > 12 else ""
    out.print(f"innocents accused: {len(accused)}{': ' + names + more if accused else ''}")
    out.print("Rules file signals (allowed action: observe); nothing here is a verdict.")


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _where_next(home: Path) -> None:
    command = ".venv/bin/fangcuan"
    where = f" --home {_shown(home)}" if not (Path.cwd() / "fangcuan.toml").is_file() else ""
    out.print("where to look next")
    for line in (
        f"{command} cases list{where}",
        f"{command} cases show FC-2026-000001{where} --json",
        f"{command} receipts{where}",
        f"{command} rules explain diversion.repeated_destination",
        f"{command} audit verify{where}",
    ):
        out.print(f"  {line}")


def main(arguments: list[str]) -> int:
    """`python -m fangcuan.flow.showcase sample|sample-clean|real`."""
    what = arguments[0] if arguments else "sample"
    base = Path(os.environ.get("FANGCUAN_SHOWCASE", "var")).resolve()
    if what == "real":
        from fangcuan.flow.showcase_real import real

        return real(base / "real")
    return sample(base / what, preset=what)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
