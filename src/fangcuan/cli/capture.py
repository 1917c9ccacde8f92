"""capture."""

from __future__ import annotations

from typing import Annotated

import typer

from fangcuan.cli.shared import AsJson, Home, installation, out, print_json, told


def add(parent: typer.Typer) -> None:
    parent.command()(capture)


@told
def capture(
    url: Annotated[str, typer.Argument(help="The page, http:// or https://.")],
    rendered: Annotated[
        bool, typer.Option("--rendered", help="Also what a browser shows: DOM and screenshot, by chromium.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Keep a listing page as evidence: a WARC file in the evidence store, named by its sha256."""
    from fangcuan.flow.capturing import capture_into

    found = capture_into(installation(home), url, rendered=rendered)
    if as_json:
        print_json(found.as_record())
        return
    out.print(f"capture     {found.sha256}")
    if found.screenshot:
        out.print(f"screenshot  {found.screenshot}")
    cut = "" if found.complete else ", cut short"
    out.print(f"answer      {found.status} from {found.address}{cut}, {found.size:,} bytes kept", markup=False)
    out.print(f"address     {found.final_url}", markup=False)
