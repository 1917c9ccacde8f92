"""capture."""

from __future__ import annotations

from typing import Annotated

import typer

from fangcuan.cli.shared import Acting, AsJson, Home, installation, out, print_json, told


def add(parent: typer.Typer) -> None:
    parent.command()(capture)


@told
def capture(
    url: Annotated[str, typer.Argument(help="The page, http:// or https://.")],
    rendered: Annotated[
        bool, typer.Option("--rendered", help="Also what a browser shows: DOM and screenshot, by chromium.")
    ] = False,
    case: Annotated[str | None, typer.Option(help="Number of the case to attach it to.")] = None,
    actor: Acting = None,
    role: Annotated[str | None, typer.Option(help="Attach it in this role only.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Keep a listing page as evidence: a WARC file in the evidence store, named by its sha256."""
    from fangcuan.flow.capturing import attach_capture, capture_into

    place = installation(home)
    found = capture_into(place, url, rendered=rendered)
    attached = attach_capture(place, found, case, actor=actor, role=role) if case else None
    if as_json:
        print_json({**found.as_record(), "case": attached})
        return
    out.print(f"capture     {found.sha256}")
    if found.screenshot:
        out.print(f"screenshot  {found.screenshot}")
    cut = "" if found.complete else ", cut short"
    out.print(f"answer      {found.status} from {found.address}{cut}, {found.size:,} bytes kept", markup=False)
    out.print(f"address     {found.final_url}", markup=False)
    if attached:
        out.print(f"attached    {attached['number']}")
