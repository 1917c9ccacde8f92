"""audit verify|checkpoint|checkpoints|key|prove; what auditors do with cases is in `audit_desk`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fangcuan.cli import audit_desk
from fangcuan.cli.shared import FAILED, AsJson, Home, installation, out, print_items, print_json, told

app = typer.Typer(help="The history nobody can rewrite unnoticed.", no_args_is_help=True)

#: Differences shown one per line; all of them are in --json.
SHOWN = 20


def add(parent: typer.Typer) -> None:
    audit_desk.add(app)
    parent.add_typer(app, name="audit")


@app.command("verify")
@told
def verify(
    home: Home = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", help="Also compare with this checkpoint, from a mail or a folder. Repeatable."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="Believe only this verifier key, not those of the installation. Repeatable."),
    ] = None,
    chain_only: Annotated[
        bool, typer.Option("--chain-only", help="Do not rebuild the tables from the events.")
    ] = False,
    notify: Annotated[
        bool, typer.Option("--notify", help="Where it fails, tell administrators and auditors; for cron.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Recompute the event chain, compare it with every checkpoint, rebuild the cases from it, and name what differs.

    Ends with 0 ok, 1 altered, 2 truncated or rolled back, 3 fork or rewrite against a checkpoint, 4 tables differ from the
    events, 5 cannot verify.
    """
    from fangcuan.flow.audit import verify_installation
    from fangcuan.flow.notifying import alarm_of, given_up

    place = installation(home)
    found = verify_installation(place, files=checkpoint or (), trusted=key or (), projected=not chain_only)
    code = int(found.exit_code)
    told_of = {"told": alarm_of(place, found)} if notify else {}
    if as_json:
        print_json({**found.as_record(), **told_of})
        raise typer.Exit(code)
    out.print(f"{'ok' if code == 0 else 'NOT OK'}  {found.events:,} events; {found.message}", markup=False)
    for problem in found.problems[:SHOWN]:
        out.print(f"  {int(problem.code)}  {problem.text('en')}", markup=False)
        out.print(f"     {problem.text('zh')}", markup=False)
    if len(found.problems) > SHOWN:
        out.print(f"  … {len(found.problems) - SHOWN} more; --json shows them")
    if told_of.get("told"):
        out.print(f"  {told_of['told']}", markup=False)
    if notify and (lost := given_up(place)):
        out.print(
            f"  {lost} notifications of the last days reached nobody; see `fangcuan notify list --state given_up`"
        )
    raise typer.Exit(code)


@app.command("checkpoint")
@told
def checkpoint(home: Home = None, as_json: AsJson = False) -> None:
    """Sign the history as it is now, and bring the checkpoint to the places of the settings."""
    from fangcuan.flow.audit import make_checkpoint

    made = make_checkpoint(installation(home))
    if as_json:
        print_json(made)
    else:
        out.print(made["message"], markup=False)
        for one in made["anchors"]:
            out.print(f"  {one['state']}  {one['size']}  {one['place']}  {one['message']}".rstrip(), markup=False)
    if made["state"] == "no key" or any(one["state"] == "failed" for one in made["anchors"]):
        raise typer.Exit(1)


@app.command("checkpoints")
@told
def checkpoints(home: Home = None, as_json: AsJson = False) -> None:
    """All checkpoints, newest first, and the places each has reached."""
    from fangcuan.flow.audit import list_checkpoints

    items = list_checkpoints(installation(home))
    if not as_json:
        items = [{**item, "reached": ", ".join(one["place"] for one in item["anchors"])} for item in items]
    columns = (("events", "size"), ("made", "made_at"), ("root", "root"), ("origin", "origin"), ("places", "reached"))
    print_items(items, as_json, columns, "no checkpoints; `fangcuan audit checkpoint` makes one")


@app.command("key")
@told
def key(
    home: Home = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of a new key and origin of its checkpoints, such as example.com/fangcuan."),
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Make a new key; the old one stays known for verifying.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the key that signs checkpoints, or show the public part of the one there is."""
    from fangcuan.flow.audit import audit_key

    shown = audit_key(installation(home), name, renew=renew)
    if as_json:
        print_json(shown)
        return
    out.print(f"{'made' if shown['state'] == 'made' else 'in use'}  {shown['path']}", markup=False)
    out.print(f"public  {shown['public']}", markup=False)
    out.print("Give the public part to your auditor now, and keep the file out of the database's backups.")


@app.command("scrub")
@told
def scrub(home: Home = None, as_json: AsJson = False) -> None:
    """Read the whole evidence store: what was altered, can be written to, or is named by a case and missing. Ends with 1 then."""
    from fangcuan.flow.scrubbing import scrub as scrub_store

    problems = scrub_store(installation(home))
    items = [{"reason": one.reason, "path": one.path, "message": one.message} for one in problems]
    columns = (("reason", "reason"), ("path", "path"), ("", "message"))
    print_items(items, as_json, columns, "every file is what its name says, and nothing is missing")
    if items:
        raise typer.Exit(FAILED)


@app.command("prove")
@told
def prove(
    what: Annotated[str, typer.Argument(metavar="CASE|SEQ", help="Number of a case or of an event.")],
    since: Annotated[
        Path | None, typer.Option(help="An older checkpoint: prove also that the history continues it.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Write proof.json and the script that verifies it into this folder.")
    ] = None,
    home: Home = None,
) -> None:
    """Print, as JSON, the proof that events are in a signed checkpoint; a script without our software verifies it."""
    from fangcuan.flow import audit

    proof = audit.prove(installation(home), what, since)
    if folder is None:
        print_json(proof)
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(proof, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    (folder / "proof.json").write_text(text, encoding="utf-8")
    (folder / "verify_proof.py").write_text(audit.proof_script(), encoding="utf-8")
    out.print(f"{folder}: python verify_proof.py proof.json '<verifier key>'", markup=False)


@app.callback()
def group() -> None:
    """The history nobody can rewrite unnoticed."""
