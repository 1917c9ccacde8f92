"""cases list|show|gate|notice; what people do with a case is in `case_work`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fangcuan.cli import case_work
from fangcuan.cli.shared import AsJson, Home, installation, out, print_items, print_json, told

app = typer.Typer(help="Conflict cases.", no_args_is_help=True)


def add(parent: typer.Typer) -> None:
    case_work.add(app)
    parent.add_typer(app, name="cases")


@app.command("list")
@told
def list_(
    home: Home = None,
    family: Annotated[str | None, typer.Option(help="diversion, price, code_integrity, loading, data_quality.")] = None,
    status: Annotated[str | None, typer.Option(help="Only cases of this status.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only cases about this subject.")] = None,
    assignee: Annotated[str | None, typer.Option(help="Only cases that this user holds.")] = None,
    proposed: Annotated[
        bool, typer.Option("--proposed", help="Only cases about which somebody has to decide.")
    ] = False,
    asleep: Annotated[bool, typer.Option("--asleep", help="Only cases that are laid aside (snooze).")] = False,
    as_json: AsJson = False,
) -> None:
    """Cases, most urgent first."""
    from fangcuan.cases.views import CaseFilter, list_cases

    now = dt.datetime.now(dt.UTC)
    filters = CaseFilter(
        family=family,
        status=status,
        subject_id=subject,
        assignee=case_work.named(assignee) if assignee else None,
        proposed=proposed or None,
        asleep_at=now if asleep else None,
    )
    items = list_cases(installation(home).engine, filters)
    columns = (
        ("number", "number"),
        ("family", "family"),
        ("subject", "subject.id"),
        ("line", "product_line"),
        ("period", "period"),
        ("status", "status"),
        ("wording", "wording"),
        ("severity", "severity"),
        ("findings", "findings"),
        ("last night", "last_finding_night"),
    )
    print_items(items, as_json, columns, "no cases; `fangcuan nightly` files them")


@app.command("show")
@told
def show(
    number: str,
    home: Home = None,
    rows: Annotated[int, typer.Option(help="Evidence rows shown per finding.")] = 5,
    as_json: AsJson = False,
) -> None:
    """One case: why it was flagged in English and Chinese, exact evidence rows, unit digest, evidence root, timeline."""
    from fangcuan.cases.views import show_case
    from fangcuan.flow.explain import render

    place = installation(home)
    case = show_case(place.engine, place.evidence, number, render)
    if as_json:
        print_json(case)
        return
    subject, window = case["subject"], case["window"]
    out.print(
        f"[bold]{case['number']}[/]  {case['family']} · {subject['kind']} [bold]{subject['id']}[/] · "
        f"{case['status']} · {case['severity']}"
    )
    out.print(
        f"{case['wording']}; allowed action: {case['allowed_action']}; "
        f"window {window['start'][:10]} … {window['end'][:10]}"
    )
    for finding in case["findings_detail"]:
        out.print(
            f"\n[bold]{finding['unit_id']}[/]  score {finding['score']:g}, unit digest {finding['unit_digest'][:12]}"
        )
        out.print(f"  {finding['explanation']['en']}", markup=False)
        out.print(f"  {finding['explanation']['zh']}", markup=False)
        out.print(f"  finding {finding['finding_id']}", markup=False)
        evidence = finding["evidence"]
        shown = evidence.get("rows") or []
        out.print(f"  evidence: {len(shown)} rows, root {finding['evidence_root'][:16]}…")
        for item in shown[:rows]:
            values = ", ".join(f"{k}={v}" for k, v in item["row"].items() if v is not None)
            out.print(f"    {item['relation']}: {values}", markup=False)
        if len(shown) > rows:
            out.print(f"    … {len(shown) - rows} more; --rows N or --json shows them")
    replaced = {comment["comment"] for comment in case["comments"] if comment["amended_by"]}
    for comment in case["comments"]:
        if comment["comment"] not in replaced:
            amended = f", amends {comment['amends']}" if comment["amends"] else ""
            out.print(f"\ncomment {comment['comment']} of {comment['author']}{amended}", markup=False)
            out.print(f"  {comment['text']}", markup=False)
    for proposal in case["proposals"]:
        said = ", ".join(
            f"{name}: {_said(value)}" for name, value in proposal["params"].items() if name != "computation"
        )
        ends = f"{proposal['verdict']} by {proposal['decided_by']}" if proposal["verdict"] else "open"
        stale = ", stale: evidence has come since" if proposal["stale"] else ""
        out.print(
            f"\nproposal {proposal['proposal']} to {proposal['kind']} by {proposal['proposed_by']}: {ends}{stale}",
            markup=False,
        )
        out.print(f"  {said}", markup=False)
        if proposal["decision_note"]:
            out.print(f"  decision: {proposal['decision_note']}", markup=False)
    for each in case["attachments"]:
        out.print(f"\n{each['kind']} {each['name']} ({each['sha256'][:16]}…) by {each['attached_by']}", markup=False)
    for notice in case["notices"]:
        due = f", answer due {notice['due_at'][:10]}" if notice["due_at"] else ""
        out.print(f"\n{notice['kind']} to {notice['partner_id']} by {notice['issued_by']}{due}", markup=False)
        for one in notice["answers"]:
            files = f" ({len(one['files'])} files)" if one["files"] else ""
            out.print(f"  answer {one['answer']}, {one['reason']}{files}: {one['text']}", markup=False)
    for each in case["penalties"]:
        settled = f", settled {each['settled']}" if each["settled"] is not None else ""
        out.print(
            f"\npenalty {each['penalty']}: {each['status']}; claimed {each['claimed']}, due {each['due']}{settled} "
            f"{each['currency'] or ''}; `fangcuan penalties show {number}` has its lines",
            markup=False,
        )
        for one in each["appeals"]:
            out.print(f"  appeal {one['appeal']} of {one['appealed_by']}, {one['reason']}: {one['text']}", markup=False)
    for each in case["legal_holds"]:
        lifted = f", lifted by {each['lifted_by']}" if each["lifted_by"] else ""
        out.print(f"\nlegal hold {each['hold']} by {each['placed_by']}{lifted}: {each['note']}", markup=False)
    for each in case["audit_reviews"]:
        sampled = f" for sample {each['sample']}" if each["sample"] else ""
        why = f" ({', '.join(each['reasons'])})" if each["reasons"] else ""
        known = "" if each["independent"] else "; has worked on it, so this counts for nothing"
        said = f"audit review {each['review']}{sampled} by {each['reviewed_by']}: {each['result']}{why}"
        out.print(f"\n{said}, at version {each['case_version']}{known}", markup=False)
        if each["note"]:
            out.print(f"  {each['note']}", markup=False)
    for each in case["links"]:
        out.print(f"\nlinked with {each['number']}: {each['kind']}", markup=False)
    for each in case["moves"]:
        out.print(f"  {_moved(number, each)}", markup=False)
    out.print("\ntimeline")
    for entry in case["timeline"]:
        out.print(f"  {entry.get('seq')}  {entry.get('kind')}  {entry.get('actor')}", markup=False)
    out.print("\nNot a verdict: a signal says what was observed and what it is consistent with.")


def _moved(number: str, move: Mapping[str, Any]) -> str:
    """Which way a finding went, seen from the case `number`."""
    left = (move["move"] % 2 == 1) == (move["number"] == number)
    other = move["other"] if move["number"] == number else move["number"]
    return f"finding {move['finding_id'][:16]}… {'went to' if left else 'came from'} {other}"


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@app.command("gate")
@told
def gate(number: str, home: Home = None, as_json: AsJson = False) -> None:
    """What may be done about a case under the law where it happened, and which row of the legal gate says so."""
    from fangcuan.flow.casework import gate as gate_of

    items = gate_of(installation(home), number)
    if as_json:
        print_json({"items": items})
        return
    for item in items:
        out.print(f"{'allowed' if item['allowed'] else 'blocked'}  {item['action']}", markup=False)
        out.print(f"         {item['why']['en']}", markup=False)
        out.print(f"         {item['why']['zh']}", markup=False)


@app.command("notice")
@told
def notice(number: str, home: Home = None, as_json: AsJson = False) -> None:
    """The text in which the legal gate lets a notice go out, in English and Chinese; nothing is sent."""
    from fangcuan.flow.casework import notice as notice_of

    found = notice_of(installation(home), number)
    if as_json:
        print_json(found)
        return
    out.print(found["text"]["en"], markup=False)
    out.print(found["text"]["zh"], markup=False)
