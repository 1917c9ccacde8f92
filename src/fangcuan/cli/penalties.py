"""penalties compute|propose|show|issue|appeal|settle|tell|victims: what a contract asks for, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fangcuan.cli.case_work import Role, Why, act
from fangcuan.cli.correspondence import lettered
from fangcuan.cli.shared import Acting, AsJson, Home, installation, out, print_json, told

app = typer.Typer(
    help="Penalties: computed line by line from the contract, agreed by two people, changed by review alone. A penalty is "
    "reduced, waived, upheld or reversed by `fangcuan cases propose CASE reduce|waive|uphold|reverse`, and somebody else's "
    "approval.",
    no_args_is_help=True,
)
Language = Annotated[str, typer.Option(help="zh or en.")]


def add(parent: typer.Typer) -> None:
    parent.add_typer(app, name="penalties")


@app.command("compute")
@told
def compute(number: str, language: Language = "en", home: Home = None, as_json: AsJson = False) -> None:
    """What the contract asks for, line by line; nothing is proposed."""
    from fangcuan.flow.penalties import computed

    found = computed(installation(home), number)
    if as_json:
        print_json(found)
        return
    for sentence in found["words"].get(language, found["words"]["en"]):
        out.print(sentence, markup=False)
    out.print(f"claimed: {found['claimed']} {found['currency'] or ''}".strip(), markup=False)


@app.command("propose")
@told
def propose(
    number: str, note: Why, actor: Acting = None, role: Role = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Propose the penalty that `compute` shows; somebody else approves it with `fangcuan cases approve`."""
    from fangcuan.flow.penalties import propose_penalty

    _say(propose_penalty(installation(home), number, note=note, actor=actor, role=role), as_json)


@app.command("show")
@told
def show(number: str, language: Language = "en", home: Home = None, as_json: AsJson = False) -> None:
    """Penalties of a case: every line, what was claimed, is due and was received, and what was said against it."""
    from fangcuan.flow.penalties import shown

    found = shown(installation(home), number)
    if as_json:
        print_json({"items": found})
        return
    for each in found:
        label = each["label"].get(language, each["label"]["en"])
        out.print(f"penalty {each['penalty']}: {label}", markup=False)
        for sentence in each["words"].get(language, each["words"]["en"]):
            out.print(f"  {sentence}", markup=False)
        money = {name: each[name] for name in ("claimed", "due", "settled") if each[name] is not None}
        said = ", ".join(f"{name} {amount} {each['currency'] or ''}".strip() for name, amount in money.items())
        out.print(f"  {said}", markup=False)
        if each["appeal_until"]:
            out.print(f"  can be appealed against until {each['appeal_until'][:16]}Z", markup=False)
        for one in each["appeals"]:
            files = f" ({len(one['files'])} files)" if one["files"] else ""
            out.print(f"  appeal {one['appeal']}, {one['reason']}{files}: {one['text']}", markup=False)
    if not found:
        out.print(f"{number} has no penalty")


issue = "Send an agreed penalty out: the letter with every line, and a link to appeal by that is shown this once."
app.command("issue")(told(lettered("penalties.issue", issue)))


@app.command("appeal")
@told
def appeal(
    number: str,
    reason: Annotated[str, typer.Option(help="not_ours, approved, wrong_count, wrong_price, disproportionate, other.")],
    text: Annotated[str, typer.Option(help="What the partner says.")],
    file: Annotated[list[Path] | None, typer.Option(help="A paper or photo; once for each.")] = None,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Take down an appeal that came by post or telephone; the partner himself uses `fangcuan answers give LINK`."""
    from fangcuan.flow.corresponding import stored_files

    place = installation(home)
    files = stored_files(place, file or ())
    act(home, "appeal", number, actor, role, as_json, reason=reason, text=text, files=files)


@app.command("settle")
@told
def settle(
    number: str,
    amount: Annotated[str, typer.Option(help="What was received; less than is due is a settlement.")],
    note: Why,
    accepted: Annotated[
        bool, typer.Option("--accepted", help="The partner accepted it in writing, though he can still appeal.")
    ] = False,
    actor: Acting = None,
    role: Role = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Note what was received in the end; what was claimed stays beside it."""
    act(home, "settle_penalty", number, actor, role, as_json, amount=amount, note=note, accepted=accepted or None)


tell = "Write the letter that tells the partner what the review of his penalty came to; its text stays with the case."
app.command("tell")(told(lettered("penalties.tell", tell)))


@app.command("victims")
@told
def victims(number: str, home: Home = None, as_json: AsJson = False) -> None:
    """Who lost by what a case is about: units and margin of the partners in whose territory the goods were seen."""
    from fangcuan.flow.penalties import lost

    found = lost(installation(home), number)
    if as_json:
        print_json(found)
        return
    how = "each code once" if found["by_codes"] else "the largest figure of a finding"
    for total in found["totals"]:
        margin = ", ".join(f"{amount} {currency}" for currency, amount in total["margin"].items()) or "unknown"
        unknown = total["units_without_margin"]
        partly = f" (of {unknown} units unknown)" if total["margin"] and unknown != "0" else ""
        out.print(f"{total['partner_id']}: {total['units']} units, margin {margin}{partly}", markup=False)
        for row in (one for one in found["rows"] if one["partner_id"] == total["partner_id"]):
            shared = f", shared by {row['shared_by']}" if row["shared_by"] > 1 else ""
            product = row["sku"] or row["product_line"] or "?"
            out.print(
                f"  {row['units']} x {product} seen in {row['seen_in']}, grant {row['grant_id']}{shared}", markup=False
            )
    if found["nobodys_units"] != "0":
        out.print(f"in nobody's territory: {found['nobodys_units']} units")
    out.print(f"Counted: {how}. What was sold unseen is in no figure here.")


def _say(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        out.print(f"{result['number']}: {result['status']}")
