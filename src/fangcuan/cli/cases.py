"""cases list|show|claim|next|assign|release|comment|amend|act|triage|dismiss|close|reopen."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from fangcuan.cli.shared import Acting, AsJson, Home, installation, out, print_items, print_json, told

app = typer.Typer(help="Conflict cases.", no_args_is_help=True)


#: Stands where a command's help lists what workflow.yml lets it state.
_ANSWERS = "(workflow.yml)"


class _Answering(TyperCommand):
    """A command whose help says which reasons or outcomes the workflow has, read when it is asked for: no other command pays."""

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "help", None) == _ANSWERS:
                from fangcuan.cases import workflow

                param.help = ", ".join(workflow.default().answers(str(self.name))) + "."  # type: ignore[attr-defined]
        return params


def add(parent: typer.Typer) -> None:
    parent.add_typer(app, name="cases")


@app.command("list")
@told
def list_(
    home: Home = None,
    family: Annotated[str | None, typer.Option(help="diversion, price, code_integrity, loading, data_quality.")] = None,
    status: Annotated[str | None, typer.Option(help="Only cases of this status.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only cases about this subject.")] = None,
    assignee: Annotated[str | None, typer.Option(help="Only cases that this user holds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Cases, most urgent first."""
    from fangcuan.cases.views import CaseFilter, list_cases

    holder = _named(assignee) if assignee else None
    filters = CaseFilter(family=family, status=status, subject_id=subject, assignee=holder)
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
    out.print("\ntimeline")
    for entry in case["timeline"]:
        out.print(f"  {entry.get('seq')}  {entry.get('kind')}  {entry.get('actor')}", markup=False)
    out.print("\nNot a verdict: a signal says what was observed and what it is consistent with.")


Role = Annotated[str | None, typer.Option(help="Act in this role only, of those one holds.")]


def _act(
    home: Home, command: str, number: str, actor: str | None, role: str | None, as_json: bool, **params: Any
) -> None:
    from fangcuan.flow.casework import act

    result = act(installation(home), command, number, actor=actor, role=role, params=dict(params))
    if as_json:
        print_json(result)
    else:
        out.print(f"{number}: {result['status']}")


def _named(user: str) -> str:
    """`ling` → `user:ling`, as cases and events have it."""
    return user if ":" in user else f"user:{user}"


@app.command("claim")
@told
def claim(number: str, actor: Acting = None, role: Role = None, home: Home = None, as_json: AsJson = False) -> None:
    """Take a case that nobody holds."""
    _act(home, "claim", number, actor, role, as_json)


@app.command("next")
@told
def next_(actor: Acting = None, role: Role = None, home: Home = None, as_json: AsJson = False) -> None:
    """Claim the most urgent case that nobody holds, within one's region and brand."""
    from fangcuan.flow.casework import next_case

    result = next_case(installation(home), actor=actor, role=role)
    if as_json:
        print_json(result or {"number": None})
    else:
        out.print(f"{result['number']}: yours" if result else "no case is waiting")


@app.command("assign")
@told
def assign(
    number: str,
    user: Annotated[str, typer.Argument(help="Who gets it; his role has to reach the case.")],
    note: Annotated[str | None, typer.Option(help="Free text for the record.")] = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Give a case to somebody, whoever held it."""
    _act(home, "assign", number, actor, role, as_json, to=_named(user), note=note)


@app.command("release")
@told
def release(
    number: str,
    note: Annotated[str | None, typer.Option(help="Free text for the record.")] = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Let go of a case one holds; a supervisor, of anybody's."""
    _act(home, "release", number, actor, role, as_json, note=note)


@app.command("comment")
@told
def comment(
    number: str,
    text: Annotated[str, typer.Argument(help="What is to be kept with the case.")],
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write a comment beside a case, in whatever status it is."""
    _act(home, "comment", number, actor, role, as_json, text=text)


@app.command("amend")
@told
def amend(
    number: str,
    comment_number: Annotated[int, typer.Argument(metavar="COMMENT", help="Its number, as `cases show` has it.")],
    text: Annotated[str, typer.Argument(help="What it should have said; what it said stays in the history.")],
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Amend one of one's own comments; the old text stays, and is shown in --json."""
    _act(home, "amend", number, actor, role, as_json, comment=comment_number, text=text)


@app.command("act")
@told
def act(
    number: str,
    command: Annotated[
        str, typer.Argument(help="A command of workflow.yml; a wrong one is answered with the possible ones.")
    ],
    actor: Acting = None,
    role: Role = None,
    reason: Annotated[str | None, typer.Option(help="Where the command asks for a reason.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Where the command asks for an outcome.")] = None,
    note: Annotated[str | None, typer.Option(help="Free text for the record.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Any command of the workflow, also one that only your workflow.yml has."""
    _act(home, command, number, actor, role, as_json, reason=reason, outcome=outcome, note=note)


@app.command("triage")
@told
def triage(number: str, actor: Acting = None, role: Role = None, home: Home = None, as_json: AsJson = False) -> None:
    """Take a new case into triage."""
    _act(home, "triage", number, actor, role, as_json)


@app.command("dismiss", cls=_Answering)
@told
def dismiss(
    number: str,
    reason: Annotated[
        str,
        typer.Option(help=_ANSWERS),
    ],
    note: Annotated[str | None, typer.Option(help="Free text for the record.")] = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Dismiss a case for a stated reason."""
    _act(home, "dismiss", number, actor, role, as_json, reason=reason, note=note)


@app.command("close", cls=_Answering)
@told
def close(
    number: str,
    outcome: Annotated[str, typer.Option(help=_ANSWERS)],
    note: Annotated[str | None, typer.Option(help="Free text for the record.")] = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Close a case in triage with an outcome."""
    _act(home, "close", number, actor, role, as_json, outcome=outcome, note=note)


@app.command("reopen")
@told
def reopen(
    number: str,
    note: Annotated[str, typer.Option(help="Why; for the record.")],
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Reopen a dismissed or closed case."""
    _act(home, "reopen", number, actor, role, as_json, note=note)
