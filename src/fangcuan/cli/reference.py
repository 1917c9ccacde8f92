"""`make docs`: write docs/reference from the code, so that it cannot say anything else.

python -m fangcuan.cli.reference docs/reference
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from fangcuan.core.contract import Column, Relation
from fangcuan.core.feeds import FEEDS
from fangcuan.core.masters import MASTERS

GENERATED = "<!-- Written by `make docs`; changes made here are overwritten. -->\n"


def main(folder: Path) -> list[Path]:
    """Write every page of the reference; gives the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def pages() -> dict[str, str]:
    """Text of every page, by file name."""
    return {"cli.md": cli_page(), "relations.md": relations_page(), "roles.md": roles_page()}


def commands() -> Iterator[tuple[str, Any]]:
    """(`fangcuan cases list`, command) of every command, in the order `--help` shows them; groups are left out."""
    from fangcuan.cli.main import app

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        for key, child in getattr(command, "commands", {}).items():
            yield from walk(f"{name} {key}", child)
        if not hasattr(command, "commands"):
            yield name, command

    yield from walk("fangcuan", typer.main.get_command(app))


def cli_page() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Commands",
        GENERATED,
        '`--json` prints one JSON object on standard output; lists are `{"items": […]}`. Messages and progress go to '
        "standard error.\n",
        "## Exit codes",
        _table(
            ("code", "means"),
            [
                ("0", "done; for `nightly`: nothing was found"),
                ("1", "failed; the reason is one line on standard error"),
                ("2", "wrong usage"),
                ("10", "`nightly`: cases were opened"),
                ("20", "`nightly`, `ingest`: something could not be looked at (a source held, refused or unavailable)"),
            ],
        ),
        "`replay` ends with 0 where every case was reproduced, 10 where one drifted, 20 where one is not reproducible. "
        "`audit verify` has its own: 0 ok, 1 altered, 2 truncated or rolled back, 3 fork or rewrite against a "
        "checkpoint, 4 tables differ from the events, 5 cannot verify. Where several codes of "
        "`nightly` fit, 1 goes before 20 and 20 before 10.\n",
    ]
    for name, command in commands():
        lines += [f"## {name}", f"{(command.help or '').strip()}\n"]
        usage = [name]
        rows = []
        for parameter in command.get_params(typer.Context(command)):
            if parameter.name == "help":
                continue
            option = parameter.opts[0].startswith("-")
            shown = parameter.opts[-1] if option else parameter.name.upper()
            if not option:
                usage.append(shown if parameter.required else f"[{shown}]")
            elif parameter.required:
                usage.append(f"{shown} {parameter.name.upper()}")
            rows.append((f"`{shown}`", _default(parameter), parameter.help or ""))
        lines.append(f"```\n{' '.join(usage)}{' [OPTIONS]' if len(rows) > len(usage) - 1 else ''}\n```\n")
        if rows:
            lines.append(_table(("option or argument", "default", "meaning"), rows))
    return "\n".join(lines).rstrip() + "\n"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if value in (None, False, [], ()):
        return ""
    return f"`{value}`"


def roles_page() -> str:
    """Which role may give which command: the registry that the executor asks, as a table."""
    from fangcuan.cases import workflow

    rules = workflow.default()
    scopes = {
        "area": "a region with all below it, a brand, or everything",
        "partner": "one partner",
        "none": "everything",
    }
    lines = [
        "# Roles and commands",
        GENERATED,
        "[Users](../users.md) says how accounts get roles. What is not marked here is refused, and the refusal logged.\n",
        "## Roles",
        _table(
            ("role", "", "granted for", "held by", "beside other roles"),
            (
                (
                    f"`{name}`",
                    f"{role.label.en} {role.label.zh}",
                    scopes[role.scope],
                    role.holder,
                    "no" if role.apart else "yes",
                )
                for name, role in rules.roles.items()
            ),
        ),
        "## Commands on cases",
        "A command takes a case from the statuses named to the one after the arrow.\n",
        _table(
            ("command", "takes", *rules.roles),
            (
                (
                    f"`{each.command}`",
                    f"{', '.join(each.from_)} → {each.to}" + (" (later findings, no person)" if each.wake else ""),
                    *_ticks(rules, each.roles),
                )
                for each in rules.transitions
            ),
        ),
        "## Proposals",
        "`fangcuan cases propose CASE KIND` is one person's, the verdict (`approve`, `return`, `reject`) another one's; "
        "the proposer may `withdraw`.\n",
        _table(
            ("kind", "from", "waits in", "approved", *rules.roles),
            (
                (
                    f"`{each.kind}`",
                    ", ".join(each.from_),
                    each.pending or "where it is",
                    each.to or "where it is",
                    *(_hands(role, each.roles, each.approvers) for role in rules.roles),
                )
                for each in rules.proposals
            ),
        ),
        "## Over a status",
        "These change no status either.\n",
        _table(
            ("command", "", "in statuses", *rules.roles),
            (
                (
                    f"`{one.command}`",
                    f"lays {one.lays}" if one.lays else f"lifts {one.lifts}",
                    _statuses(rules, one.while_),
                    *_ticks(rules, one.roles),
                )
                for one in rules.overlays
            ),
        ),
        "## Who holds a case",
        "These change no status. *own*: for cases one holds oneself.\n",
        _table(
            ("command", "in statuses", *rules.roles),
            (
                (
                    f"`{one.command}`",
                    _statuses(rules, one.while_),
                    *("✓" if role in one.roles else "own" if role in one.own else "" for role in rules.roles),
                )
                for one in rules.work
            ),
        ),
        "## Beside a case",
        "In any status; `amend` for one's own comments.\n",
        _table(
            ("command", *rules.roles),
            ((f"`{one.command}`", *_ticks(rules, one.roles)) for one in rules.remarks),
        ),
        "## Letters and answers",
        "The legal gate is asked for the action; a partner answers by his link or his account, for his own cases.\n",
        _table(
            ("command", "in statuses", "action", *rules.roles),
            (
                (
                    f"`{one.command}`",
                    _statuses(rules, one.while_),
                    one.action,
                    *_ticks(rules, one.roles),
                )
                for one in rules.letters
            ),
        ),
        "## Commands on the casebook as a whole",
        _table(
            ("command", *rules.roles),
            ((f"`{one.command}`", *_ticks(rules, one.roles)) for one in rules.exceptions),
        ),
        "## Taking a case out of the house",
        "`fangcuan export`, by [profile](../replay-and-export.md#profiles).\n",
        _table(
            ("profile", *rules.roles),
            ((f"`{one.profile}`", *_ticks(rules, one.roles)) for one in rules.exports),
        ),
        "## Policies",
        "Who proposes and who approves, never one person both. `units`: texts of rules and detectors.\n",
        _table(
            ("policy", *rules.roles),
            (
                (
                    f"`{kind}`",
                    *(_hands(role, each.propose, each.approve) for role in rules.roles),
                )
                for kind, each in rules.policies.items()
            ),
        ),
        "## Commands on accounts",
        "*own*: everybody for his own account.\n",
        _table(
            ("command", *rules.roles),
            (
                (f"`{one.command}`", *("✓" if role in one.roles else "own" if one.own else "" for role in rules.roles))
                for one in rules.administration
            ),
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _ticks(rules: Any, roles: Iterable[str]) -> list[str]:
    """A mark under each role of the table's head that is among `roles`."""
    among = set(roles)
    return ["✓" if role in among else "" for role in rules.roles]


def _statuses(rules: Any, flag: Any) -> str:
    """Statuses with a flag; all of them where there is none."""
    return "all" if flag is None else ", ".join(name for name in rules.statuses if rules.has(name, flag))


def _hands(role: str, proposers: tuple[str, ...], approvers: tuple[str, ...]) -> str:
    return " and ".join(word for word, roles in (("proposes", proposers), ("decides", approvers)) if role in roles)


def relations_page() -> str:
    """Every relation of the contract with its columns."""
    lines = [
        "# Relations",
        GENERATED,
        "The contract between sources and detectors. A file with these column names loads as it is; "
        "[sources](../sources.md) says how any other file becomes one.\n",
        "* **required**: a row without it is quarantined, a file without the column refused.",
        "* **default**: the value of an absent column.",
        "* **refers to**: only values of that column are allowed, once the relation named has rows.",
        "* The **key** says which rows are the same: a second one is counted as a duplicate. Without a key it is the whole "
        "row.",
        "* Decimals and times are exact: money is written as decimal text, times as ISO 8601 with zone.\n",
        "## Events",
        "Kept in the lake, one file per batch and event date.\n",
    ]
    lines += [_relation(relation) for relation in FEEDS.values()]
    lines += [
        "## Master data",
        "Kept in the casebook. Periods are half-open local dates [`valid_from`, `valid_to`) in the brand's time zone, an "
        "empty one is open; a later `recorded_at` of the same key supersedes the earlier row. `legal_gate` and "
        "`penalty_ladders` are no source's: their rows come by [approval](../policies.md) alone.\n",
    ]
    lines += [_relation(relation) for relation in MASTERS.values()]
    return "\n".join(lines).rstrip() + "\n"


def _relation(relation: Relation) -> str:
    about = [relation.about] if relation.about else []
    facts = [f"Key: {', '.join(f'`{name}`' for name in relation.key) or 'the whole row'}."]
    if relation.time:
        facts.append(f"Event date: that of `{relation.time}`.")
    head = " ".join((*about, *facts))
    rows = [(f"`{column.name}`", column.kind, _needed(column), _meaning(column)) for column in relation.columns]
    return f"### {relation.name}\n{head}\n\n" + _table(("column", "type", "", "meaning"), rows)


def _needed(column: Column) -> str:
    if column.default is not None:
        return f"default `{column.default}`"
    return "required" if column.required else ""


def _meaning(column: Column) -> str:
    parts = [column.about] if column.about else []
    if column.values:
        parts.append(f"one of {', '.join(column.values)}")
    bounds = [f"at least {column.minimum:g}"] if column.minimum is not None else []
    bounds += [f"at most {column.maximum:g}"] if column.maximum is not None else []
    parts += [", ".join(bounds)] if bounds else []
    if column.references:
        parts.append(f"refers to `{column.references}`")
    if column.not_future:
        parts.append("not in the future")
    return "; ".join(parts)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [
        f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |" for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path in main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference")):
        print(path)
