"""What can be looked up is complete and true: commands, relations, settings, variables."""

from __future__ import annotations

import ast
import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from fangcuan.cli import reference
from fangcuan.settings import Settings

ROOT = Path(__file__).parents[2]
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """Rows of the first table after a line that begins with `heading`, by their first cell."""
    lines = text[text.index(heading) :].splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("|"))
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        found[cells[0]] = cells[1:]
    return found


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_the_committed_reference_is_what_the_code_gives(name: str) -> None:
    committed = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert committed == reference.pages()[name], "run `make docs` and commit docs/reference"


def test_the_reference_holds_nothing_else() -> None:
    assert {path.name for path in (ROOT / "docs" / "reference").iterdir()} == set(reference.pages())


def test_every_command_says_what_it_does() -> None:
    commands = dict(reference.commands())
    assert {"fangcuan init", "fangcuan nightly", "fangcuan cases show", "fangcuan audit verify"} <= set(commands)
    for name, command in commands.items():
        assert len((command.help or "").split()) >= 3, f"{name} has no help"
        for parameter in command.params:
            if parameter.name != "help" and parameter.opts[0].startswith("-"):
                assert parameter.help, f"{name} {parameter.opts[0]} has no help"


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {name.strip("`"): cells for name, cells in rows(SETTINGS, "| setting |").items()}
    fields = {field.name: field for field in dataclasses.fields(Settings) if field.name != "config_path"}
    assert set(documented) == set(fields)
    for name, field in fields.items():
        default = field.default
        if name in {"home", "database_url"}:
            continue
        shown = documented[name][0].strip("`")
        expected = "none" if default in ((), "") else str(default)
        assert shown == expected, f"{name}: documented {shown}, default {expected}"


def variables(folders: list[Path]) -> set[str]:
    """Names of our own variables that code or sources spell out."""
    found: set[str] = set()
    for folder in folders:
        for path in [*folder.rglob("*.py"), *folder.rglob("*.yml")]:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".py":
                constants = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)]
                text = "\n".join(value for value in constants if isinstance(value, str))
            found |= set(re.findall(r"\bFANGCUAN_[A-Z][A-Z_]*[A-Z]", text))
    return found


def test_every_variable_is_documented() -> None:
    found = variables([ROOT / "src", ROOT / "pipelines"])
    assert {"FANGCUAN_HOME", "FANGCUAN_CONTENT", "FANGCUAN_SECRETS_DIR"} <= found
    of_settings = {f"FANGCUAN_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    families = ("FANGCUAN_CRON", "FANGCUAN_SECRET")
    assert all(f"{family}_<NAME>" in SETTINGS for family in families)
    unknown = {name for name in found - of_settings if name not in SETTINGS and not name.startswith(families)}
    assert not unknown, "describe them in docs/settings.md"


def test_every_documented_variable_exists() -> None:
    cells = " ".join(rows(SETTINGS, "| variable |"))
    named = set(re.findall(r"FANGCUAN_[A-Z_]+[A-Z]", cells))
    elsewhere = (ROOT / "Makefile").read_text() + "".join(p.read_text() for p in (ROOT / "tests").rglob("conftest.py"))
    sources = variables([ROOT / "src", ROOT / "pipelines"])
    assert named
    assert {name for name in named if name not in elsewhere and not any(v.startswith(name) for v in sources)} == set()


def test_every_dependency_has_its_reason_and_licence() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {name_of(item) for item in project["dependencies"]}
    extras = {name_of(item) for items in project["optional-dependencies"].values() for item in items}
    first = {name.strip("`"): cells for name, cells in rows(text, "# Dependencies").items()}
    second = {name.strip("`"): cells for name, cells in rows(text, "## Extras").items()}
    assert {name.split("[")[0] for name in first} == needed
    assert set(second) == extras
    assert all(all(cells) for cells in (*first.values(), *second.values()))


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=~! ]", requirement)[0]


#: What a script makes and nobody commits.
MADE = {"deploy/secrets"}
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        goal = (path.parent / name).resolve() if name else path
        assert goal.exists(), f"{path.name}: {target}"
        if anchor and goal.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", goal.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{path.name}: {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_commands_that_documents_name_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {name for name, _ in reference.commands()}
    groups = {name.rsplit(" ", 1)[0] for name in known if name.count(" ") == 2}
    for line in re.findall(r"`(fangcuan [a-z][^`\n]*)`", text) + re.findall(
        r"^(?:\$ )?(fangcuan [a-z].*)$", text, re.M
    ):
        words = line.split()
        name = " ".join(words[:3]) if " ".join(words[:2]) in groups and len(words) > 2 else " ".join(words[:2])
        assert name in known | groups, f"{path.name}: {line}"
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for verb in re.findall(r"`make ([a-z-]+)", text):
        assert verb in targets, f"{path.name}: make {verb}"
    for name in re.findall(r"`((?:src|tests|docs|rules|sql|dags|deploy|requirements)/[\w./-]+\w)`", text):
        assert (ROOT / name).exists() or name in MADE, f"{path.name}: {name}"
