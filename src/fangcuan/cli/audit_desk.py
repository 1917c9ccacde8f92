"""audit sample|samples|review|reviews|consistency: the auditor's own work with cases."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from fangcuan.cli.shared import FAILED, Acting, AsJson, Home, installation, out, print_items, print_json, told

#: What a verdict of the consistency audit means, for whoever reads it.
_VERDICTS = {
    "differs": "TREATED OTHERWISE",
    "none_found": "no difference found",
    "one_case": "hangs on one case",
    "too_few": "too few cases",
}


def add(app: typer.Typer) -> None:
    """The commands of this module, as part of `fangcuan audit`."""
    for name, command in _COMMANDS.items():
        app.command(name)(told(command))


def sample(
    count: Annotated[int | None, typer.Option("--n", help="How many cases.")] = None,
    seed: Annotated[
        str | None, typer.Option(help="Any text; best one that nobody here could choose, such as a published number.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Draw from all cases, not only from those that were decided.")
    ] = False,
    since: Annotated[
        str | None, typer.Option("--from", help="First day of the decision (with --all: of the opening).")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last day of it.")] = None,
    family: Annotated[str | None, typer.Option(help="Only cases of this family.")] = None,
    status: Annotated[str | None, typer.Option(help="Only cases of this status.")] = None,
    again: Annotated[
        int | None, typer.Option("--again", help="Draw this recorded sample again and say whether it is the same.")
    ] = None,
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Draw cases at random for an audit and record the draw, or draw a recorded sample again.

    Seed and history decide which cases are drawn, so everybody can draw them again. Ends with 1 where --again gives others.
    """
    from fangcuan.cases.auditing.samples import draw_again
    from fangcuan.flow.audit_desk import draw

    if (again is None) == (count is None or seed is None) or (again is not None and (count, seed) != (None, None)):
        raise typer.BadParameter("give --n and --seed, or --again alone", param_hint="--n")
    place = installation(home)
    if again is not None:
        _again(draw_again(place.engine, again), as_json)
        return
    assert count is not None
    assert seed is not None
    drawn = draw(
        place,
        count=count,
        seed=seed,
        actor=actor,
        undecided=everything,
        since=since,
        until=until,
        family=family,
        status=status,
    )
    if as_json:
        print_json(drawn)
        return
    numbers = drawn["numbers"]
    out.print(
        f"sample {drawn['sample']}: {len(numbers)} of {drawn['population']} cases, as of event {drawn['seq']}",
        markup=False,
    )
    for number in numbers:
        out.print(f"  {number}", markup=False)


def _again(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        out.print(f"sample {found['sample']}: {'same' if found['same'] else 'DIFFERENT'}")
        for reason in found["why"]:
            out.print(f"  {reason}", markup=False)
        for name in ("missing", "extra"):
            if found[name]:
                out.print(f"  {name}: {', '.join(found[name])}", markup=False)
    if not found["same"]:
        raise typer.Exit(FAILED)


def samples(home: Home = None, as_json: AsJson = False) -> None:
    """All samples that were drawn: by whom, by which seed, out of how many cases."""
    from fangcuan.cases.auditing.samples import list_samples

    items = list_samples(installation(home).engine)
    if not as_json:
        for item in items:
            item["drawn"] = len(item["numbers"])
            item["conditions"] = ", ".join(f"{name} {value}" for name, value in sorted(item["filters"].items()))
    columns = (
        ("sample", "sample"),
        ("drawn", "drawn"),
        ("of", "population"),
        ("seed", "seed"),
        ("as of event", "seq"),
        ("conditions", "conditions"),
        ("by", "drawn_by"),
        ("at", "drawn_at"),
    )
    print_items(items, as_json, columns, "no sample was drawn; `fangcuan audit sample` draws one")


def review(
    number: str,
    result: Annotated[str, typer.Option(help="agrees, disagrees or cannot_tell.")],
    reason: Annotated[
        list[str] | None, typer.Option("--reason", help="Why not; repeatable. A wrong one lists those there are.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="In one's own words; needed for all but agrees.")] = None,
    sample: Annotated[int | None, typer.Option(help="The sample the case was drawn for.")] = None,
    version: Annotated[
        int | None, typer.Option(help="Version of the case that was looked at; refused where it went on since.")
    ] = None,
    actor: Acting = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write down whether one agrees with how a case was handled. It changes nothing of the case; never one's own."""
    from fangcuan.flow.audit_desk import review as write

    done = write(
        installation(home),
        number,
        result=result,
        reasons=reason or (),
        note=note,
        sample=sample,
        version=version,
        actor=actor,
    )
    if as_json:
        print_json(done)
    else:
        out.print(f"{number}: review {done['review']}, {result}, of version {done['case_version']}", markup=False)


def reviews(
    sample: Annotated[int | None, typer.Option(help="Progress of this sample, and what it says about all.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """All reviews; with --sample how far it is, and the estimated share of decisions an auditor would not agree with."""
    from fangcuan.cases.auditing.reviews import list_reviews, progress

    engine = installation(home).engine
    if sample is None:
        items = list_reviews(engine)
        if not as_json:
            items = [{**item, "why": ", ".join(item["reasons"])} for item in items]
        columns = (
            ("case", "number"),
            ("review", "review"),
            ("sample", "sample"),
            ("result", "result"),
            ("reasons", "why"),
            ("version", "case_version"),
            ("by", "reviewed_by"),
            ("independent", "independent"),
        )
        print_items(items, as_json, columns, "no reviews; `fangcuan audit review` writes one")
        return
    found = progress(engine, sample)
    if as_json:
        print_json(found)
        return
    progress_columns = (
        ("case", "number"),
        ("result", "result"),
        ("by", "reviewed_by"),
        ("version", "reviewed_version"),
        ("changed since", "changed_since"),
        ("auditors differ", "auditors_differ"),
    )
    print_items(found["items"], False, progress_columns, "")
    out.print(
        f"\n{found['reviewed']} of {found['drawn']} reviewed: {found['agrees']} agree, {found['disagrees']} disagree, "
        f"{found['cannot_tell']} cannot be told"
    )
    _estimated(found)


def _estimated(found: Mapping[str, Any]) -> None:
    estimate = found["estimate"]
    if estimate is None:
        out.print("nothing can be estimated yet")
        return
    out.print(
        f"estimated share of wrong decisions among all {found['population']} cases: {_percent(estimate['share'])}, "
        f"between {_percent(estimate['low'])} and {_percent(estimate['high'])} ({_percent(estimate['level'])} interval)"
    )
    if found["cannot_tell"]:
        worst = _percent(estimate["high_if_unclear_are_wrong"])
        out.print(f"were those wrong of which one cannot tell, up to {worst}")
    if not estimate["in_the_order_drawn"]:
        out.print(
            "not reviewed in the order drawn: until all are, who chose what to look at first may have tilted this"
        )


def consistency(
    by: Annotated[str, typer.Option(help="tier or region of the partner, or handler.")] = "tier",
    of: Annotated[
        str,
        typer.Option(
            help="outcome: confirmed or not; penalised: with money due or not; sanction: above the median of its like."
        ),
    ] = "outcome",
    since: Annotated[
        dt.datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day of decisions.")
    ] = None,
    until: Annotated[
        dt.datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day of decisions.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only cases of this family.")] = None,
    level: Annotated[
        str, typer.Option(help="Regions of this level, as the master data call it; any: where each partner sits.")
    ] = "province",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Same facts, same treatment: compare groups with all others, within cases of equal facts only."""
    from fangcuan.cases.auditing.treatment import BY, OF
    from fangcuan.flow.audit_desk import compare

    for name, value, known in (("--by", by, BY), ("--of", of, OF)):
        if value not in known:
            raise typer.BadParameter(f"{value!r}: expected one of {', '.join(known)}", param_hint=name)
    found = compare(
        installation(home),
        by=by,
        of=of,
        since=since.date() if since else None,
        until=until.date() if until else None,
        family=family,
        level=None if level == "any" else level,
    )
    if as_json:
        print_json(found)
        return
    columns = (
        (by, "group"),
        ("cases", "cases"),
        ("compared", "compared"),
        ("observed", "observed"),
        ("expected", "expected"),
        ("ratio", "ratio"),
        ("difference, points", "difference"),
        ("95 % interval", "interval"),
        ("adjusted p", "adjusted"),
        ("", "says"),
    )
    print_items([_row(one) for one in found["items"]], False, columns, "nothing to compare")
    out.print(f"\n{found['cases']} cases in {found['strata']} strata of equal facts")
    for reason, count in found["left_out"].items():
        out.print(f"left out: {count} {reason}")
    few = sum(one["verdict"] == "too_few" for one in found["items"])
    if few:
        out.print(
            f"{few} of {len(found['items'])} groups have fewer than {found['fewest']} cases with equals elsewhere that ended "
            "otherwise: nothing can be said about them"
        )


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    """A group as its line shows it."""
    known = one["risk_difference"] is not None
    return {
        **one,
        "expected": f"{one['expected']:.1f}" if known else None,
        "ratio": f"{one['ratio']:.2f}" if known else None,
        "difference": _points(one["risk_difference"]) if known else None,
        "interval": f"{_points(one['low'])} to {_points(one['high'])}" if known else None,
        "adjusted": None if one["adjusted_p"] is None else f"{one['adjusted_p']:.3g}",
        "says": _VERDICTS[one["verdict"]],
    }


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * share:+.0f}"


_COMMANDS: dict[str, Callable[..., None]] = {
    "sample": sample,
    "samples": samples,
    "review": review,
    "reviews": reviews,
    "consistency": consistency,
}
