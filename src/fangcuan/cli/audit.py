"""audit verify."""

from __future__ import annotations

import typer

from fangcuan.cli.shared import AsJson, Home, installation, out, print_json, told

app = typer.Typer(help="The history nobody can rewrite unnoticed.", no_args_is_help=True)


def add(parent: typer.Typer) -> None:
    parent.add_typer(app, name="audit")


@app.command("verify")
@told
def verify(home: Home = None, as_json: AsJson = False) -> None:
    """Recompute the event chain and name the first bad event.

    Ends with 0 ok, 1 altered, 2 truncated or rolled back, 5 cannot verify.
    """
    from fangcuan.cases.audit import verify as run

    found = run(installation(home).engine)
    code = int(found.exit_code)
    if as_json:
        print_json(
            {"exit_code": code, "message": found.message, "events": found.events, "first_bad_seq": found.first_bad_seq}
        )
    else:
        out.print(f"{'ok' if code == 0 else 'NOT OK'}  {found.events:,} events; {found.message}", markup=False)
    raise typer.Exit(code)


@app.callback()
def group() -> None:
    """The history nobody can rewrite unnoticed."""
