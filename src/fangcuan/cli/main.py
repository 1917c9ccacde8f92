"""`fangcuan …`: the commands of docs/reference. Each is a thin cover over `fangcuan.flow`."""

from __future__ import annotations

import typer

from fangcuan.cli import (
    audit,
    capture,
    cases,
    content,
    correspondence,
    data,
    export,
    learning,
    models,
    nights,
    notify,
    penalties,
    policies,
    quality,
    replay,
    users,
)

app = typer.Typer(
    name="fangcuan",
    help="Finds channel conflict for brands that sell through distributors: cross-region diversion and below-floor pricing, with "
    "evidence. 防窜：为通过经销商销售的品牌发现窜货与乱价，并留存证据。",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
nights.add(app)
data.add(app)
content.add(app)
models.add(app)
cases.add(app)
learning.add(app)
correspondence.add(app, cases.app)
replay.add(app)
export.add(app)
audit.add(app)
users.add(app)
notify.add(app)
capture.add(app)
policies.add(app)
penalties.add(app)
quality.add(app)


def main() -> None:
    """Entry point of `python -m fangcuan`."""
    app()
