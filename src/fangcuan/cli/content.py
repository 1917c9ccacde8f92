"""check, rules list|explain|test|propose|approve|versions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fangcuan.cli.shared import FAILED, Acting, AsJson, Home, err, installation, out, print_items, print_json, told

rules = typer.Typer(help="Rules: what they look for, what they give, whether their tests hold.", no_args_is_help=True)


def add(app: typer.Typer) -> None:
    app.command()(check)
    app.add_typer(rules, name="rules")


@told
def check(as_json: AsJson = False) -> None:
    """Validate all content (rules, shared SQL, sources, detectors, workflow); every error at once as path:line."""
    from fangcuan.flow.check import check_content

    report = check_content()
    if as_json:
        print_json({"items": [{"path": str(p.path), "line": p.line, "message": p.message} for p in report.problems]})
    else:
        for problem in report.problems:
            out.print(str(problem), markup=False)
        out.print(f"{report.summary}: {'in order' if not report.problems else f'{len(report.problems)} problems'}")
    if report.problems:
        raise typer.Exit(FAILED)


@rules.command("list")
@told
def list_(home: Home = None, as_json: AsJson = False) -> None:
    """All units with role, status, owner and digest."""
    from fangcuan.detect.units import load_units

    items = [
        {
            "id": unit.id,
            "role": unit.rule.role,
            "status": unit.rule.status,
            "owner": unit.rule.owner,
            "title": unit.rule.title.model_dump(),
            "digest": unit.digest,
            "reads": sorted(unit.reads),
            "tests": len(unit.rule.tests),
        }
        for unit in sorted(load_units().values(), key=lambda unit: unit.id)
    ]
    columns = (
        ("id", "id"),
        ("role", "role"),
        ("status", "status"),
        ("title", "title.en"),
        ("标题", "title.zh"),
        ("tests", "tests"),
    )
    print_items(items, as_json, columns, "no rules")


@rules.command("explain")
@told
def explain(
    unit: str,
    home: Home = None,
    step: Annotated[str | None, typer.Option(help="Rows of this named step instead of the result.")] = None,
    date: Annotated[str | None, typer.Option("--date", help="On the data of this night.")] = None,
    rows: Annotated[int, typer.Option(help="Rows to show.")] = 10,
    as_json: AsJson = False,
) -> None:
    """What a unit looks for, its parameters, innocent readings and gaps; with --date, what its steps give on that night."""
    import datetime as dt

    from fangcuan.detect.units import load_units
    from fangcuan.flow.explain import unit_steps

    known = load_units()
    if unit not in known:
        err.print(f"[red]error[/red] no unit {unit!r}; `fangcuan rules list` shows them")
        raise typer.Exit(FAILED)
    found = known[unit]
    told_of: dict[str, Any] = found.rule.model_dump(exclude={"tests", "background"})
    told_of.update(digest=found.digest, steps=list(found.query.steps))
    if date:
        told_of["result"] = unit_steps(installation(home), unit, dt.date.fromisoformat(date), step, rows)
    if as_json:
        print_json(told_of)
        return
    rule = found.rule
    out.print(f"[bold]{rule.id}[/]  {rule.title.en} · {rule.title.zh}")
    out.print(f"role {rule.role}, status {rule.status}, owner {rule.owner}, digest {found.digest[:12]}")
    for name, parameter in rule.parameters.items():
        out.print(f"  {name} = {parameter.value} {parameter.unit}  {parameter.about}", markup=False)
    if rule.explanation:
        out.print(f"\nsays: {rule.explanation.en}", markup=False)
    out.print(f"\ntriage: {rule.triage.en}", markup=False)
    for heading, texts in (("innocent readings", rule.innocent_readings), ("known gaps", rule.known_gaps)):
        out.print(f"\n{heading}:")
        for text in texts:
            out.print(f"  - {text.en}", markup=False)
    out.print(f"\nsteps: {', '.join(found.query.steps)}")
    if date:
        items = told_of["result"]["rows"]
        out.print(f"\n{step or 'result'} on {date}: {told_of['result']['total']} rows")
        print_items(items, False, [(name, name) for name in (items[0] if items else {})], "no rows")


@rules.command("test")
@told
def run_tests(
    unit: Annotated[str | None, typer.Argument(help="One unit; all by default.")] = None, as_json: AsJson = False
) -> None:
    """Run the tests that stand in the rules."""
    from fangcuan.detect.given import run_rule_test
    from fangcuan.detect.units import load_units
    from fangcuan.settings import load

    known = load_units()
    chosen = [known[unit]] if unit in known else list(known.values()) if unit is None else []
    if not chosen:
        err.print(f"[red]error[/red] no unit {unit!r}; `fangcuan rules list` shows them")
        raise typer.Exit(FAILED)
    outcomes = [run_rule_test(item, known, case, load()) for item in chosen for case in item.rule.tests]
    bad = [outcome for outcome in outcomes if outcome.problems]
    if as_json:
        print_json({"items": [{"id": o.unit_id, "name": o.name, "problems": list(o.problems)} for o in outcomes]})
    else:
        for outcome in bad:
            out.print(f"{outcome.unit_id}: {outcome.name}", markup=False)
            for problem in outcome.problems:
                out.print(f"    {problem}", markup=False)
        out.print(f"{len(outcomes)} tests of {len(chosen)} units: {len(outcomes) - len(bad)} hold, {len(bad)} fail")
    if bad:
        raise typer.Exit(FAILED)


@rules.command("propose")
@told
def propose(unit: str, actor: Acting = None, home: Home = None, as_json: AsJson = False) -> None:
    """Propose a unit (rule or detector, text and parameters) as it stands now, for somebody else to approve."""
    from fangcuan.flow.approve import propose_unit

    found, fresh = propose_unit(installation(home), unit, actor=actor)
    if as_json:
        print_json({"unit": unit, "digest": found.digest, "proposed": fresh})
        return
    said = "proposed; someone else approves it" if fresh else "was proposed before"
    out.print(f"{unit} {found.digest[:12]} {said}")


@rules.command("approve")
@told
def approve(unit: str, actor: Acting = None, home: Home = None, as_json: AsJson = False) -> None:
    """Approve a unit as it stands now, which somebody else proposed; it files cases from then, and runs as shadow until then."""
    from fangcuan.flow.approve import approve_unit

    found, fresh = approve_unit(installation(home), unit, actor=actor)
    if as_json:
        print_json({"unit": unit, "digest": found.digest, "approved": fresh})
        return
    out.print(f"{unit} {found.digest[:12]} {'approved' if fresh else 'was approved before'}")


@rules.command("versions")
@told
def versions(
    unit: Annotated[str | None, typer.Argument(help="One unit; all by default.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Every text of a unit that was proposed, by whom, and who approved it."""
    from fangcuan.cases.policies.approvals import list_versions

    items = list_versions(installation(home).engine, unit)
    if not as_json:
        for item in items:
            item["short"] = item["unit_digest"][:12]
    columns = (
        ("unit", "unit_id"),
        ("digest", "short"),
        ("proposed by", "proposed_by"),
        ("at", "proposed_at"),
        ("approved by", "approved_by"),
        ("at", "approved_at"),
    )
    print_items(items, as_json, columns, "nothing was proposed; `fangcuan rules propose UNIT` does so")
