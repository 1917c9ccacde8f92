"""export: a case as a folder for outsiders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fangcuan.cli.shared import Acting, AsJson, Home, installation, out, print_json, told


def add(app: typer.Typer) -> None:
    app.command()(export)


@told
def export(
    number: Annotated[str, typer.Argument(metavar="CASE", help="Number of a case.")],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write, which must not exist (default: CASE-PROFILE).")
    ] = None,
    profile: Annotated[str, typer.Option(help="Who will read it: auditor (everything), court, dealer.")] = "auditor",
    replayed: Annotated[bool, typer.Option("--replay", help="Judge the case again and add the verdict.")] = False,
    actor: Acting = None,
    role: Annotated[str | None, typer.Option(help="Act in this role only, of those one holds.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write a case with its evidence, history, proofs and report into a folder that verifies without this software.

    It is recorded who took it, for whom, and the digest of what he took.
    """
    from fangcuan.flow.exporting import export_case

    target = folder or Path(f"{number}-{profile}")
    made = export_case(installation(home), number, target, profile=profile, actor=actor, role=role, replayed=replayed)
    if as_json:
        print_json(made)
        return
    out.print(f"{made['path']}: {made['files']} files, {made['bytes']} bytes, event {made['seq']}", markup=False)
    out.print(f"manifest sha256 {made['manifest_sha256']}")
    if made["disclosure"]:
        out.print(
            f"hidden: {sum(made['redacted'].values())} places; the values stay here: {made['disclosure']}", markup=False
        )
    out.print(f"verify: python3 -I -S verify.py {made['path']}", markup=False)
