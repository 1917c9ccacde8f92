"""receipts, quarantine list|export|replay, findings export."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select

from fangcuan.cli.shared import AsJson, Home, installation, out, print_items, print_json, told

quarantine = typer.Typer(help="Rows that broke a rule: list, correct, play back.", no_args_is_help=True)
findings = typer.Typer(help="Findings of the units.", no_args_is_help=True)


def add(app: typer.Typer) -> None:
    app.command()(receipts)
    app.add_typer(quarantine, name="quarantine")
    app.add_typer(findings, name="findings")


@told
def receipts(
    home: Home = None,
    state: Annotated[str | None, typer.Option(help="loaded, duplicate, held or refused.")] = None,
    source: Annotated[str | None, typer.Option(help="Of one source.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write the gate results as HTML pages to this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """What became of every batch: rows read, loaded, duplicate, quarantined, and why a batch was held or refused."""
    from fangcuan.flow.gate_pages import write_pages
    from fangcuan.flow.quarantine import rows_of_receipt
    from fangcuan.store.catalogue import Receipt
    from fangcuan.store.database import read

    place = installation(home)
    statement = select(Receipt.__table__).order_by(
        Receipt.arrived_on, Receipt.source_id, Receipt.relation, Receipt.document_name, Receipt.receipt_id
    )
    if state:
        statement = statement.where(Receipt.state == state)
    if source:
        statement = statement.where(Receipt.source_id == source)
    with read(place.engine) as connection:
        rows: list[dict[str, Any]] = [dict(row) for row in connection.execute(statement).mappings()]
    for row in rows:
        row.pop("recorded_at")
        row["arrived_on"] = row["arrived_on"].isoformat()
    if page is not None:
        written = write_pages(rows, page, partial(rows_of_receipt, place))
        out.print(f"{written} pages: {page / 'index.html'}")
        return
    columns = (
        ("night", "arrived_on"),
        ("source", "source_id"),
        ("relation", "relation"),
        ("document", "document_name"),
        ("state", "state"),
        ("read", "rows_read"),
        ("loaded", "rows_loaded"),
        ("duplicate", "rows_duplicate"),
        ("quarantined", "rows_quarantined"),
        ("why", "message"),
    )
    print_items(rows, as_json, columns, "no batch has been received yet; `fangcuan ingest --world DIR` loads one")


@quarantine.command("list")
@told
def list_(
    home: Home = None, rows: Annotated[int, typer.Option(help="Rows shown of each batch.")] = 3, as_json: AsJson = False
) -> None:
    """Batches with quarantined rows, and why."""
    from fangcuan.flow.quarantine import list_quarantine

    items = list_quarantine(installation(home), rows=rows)
    if as_json:
        print_json({"items": items})
        return
    if not items:
        out.print("nothing is quarantined")
    for item in items:
        where = f"{item['source_id']} {item['relation']}  {item['rows']} rows of {item['document_name']}"
        out.print(f"[bold]{item['receipt_id'][:12]}[/]  {where}")
        for reason, count in item["quarantined_by_reason"].items():
            out.print(f"    {count:>7,}  {reason}", markup=False)
        for example in item["examples"]:
            why = "; ".join(
                f"{r.get('column')}={r.get('value')!r}: expected {r.get('expected')}" for r in example["reasons"]
            )
            out.print(f"    {example['position']}: {why}", markup=False)


@quarantine.command("export")
@told
def export(
    receipt: str, out_file: Annotated[Path, typer.Option("--out", help="CSV to write.")], home: Home = None
) -> None:
    """Write the rows of one batch as CSV, to be corrected by hand."""
    from fangcuan.flow.quarantine import export_quarantine

    number = export_quarantine(installation(home), receipt, out_file)
    out.print(f"{number} rows: {out_file}; correct them, then fangcuan quarantine replay {receipt} --file {out_file}")


@quarantine.command("replay")
@told
def replay(
    receipt: str,
    file: Annotated[
        Path | None, typer.Option("--file", help="Corrected CSV; without it the rows go through as they are.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Play quarantined rows back through the gate."""
    from fangcuan.flow.quarantine import replay_quarantine

    done = replay_quarantine(installation(home), receipt, file)
    result = {
        "receipt_id": done.receipt_id,
        "state": done.state,
        "rows_loaded": done.rows_loaded,
        "rows_duplicate": done.rows_duplicate,
        "rows_quarantined": done.rows_quarantined,
    }
    if as_json:
        print_json(result)
    else:
        out.print(
            f"{done.rows_loaded} loaded, {done.rows_duplicate} duplicate, {done.rows_quarantined} still quarantined"
        )


@findings.command("export")
@told
def export_(
    out_file: Annotated[Path, typer.Option("--out", help="*.parquet, *.jsonl or *.csv")], home: Home = None
) -> None:
    """Write every finding as one table; the format follows the suffix."""
    from fangcuan.flow.export import export_findings

    out.print(f"{export_findings(installation(home), out_file)} findings: {out_file}")
