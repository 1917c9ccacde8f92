"""The README's commands run and say what it says they do; its YAML is valid."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
#: Exit codes that are answers and no failures.
ANSWERS = {0, 10, 20}


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S)


def transcript(path: Path) -> list[tuple[str, list[str]]]:
    """(command, lines it is said to print) of every console block, in order."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(blocks(path, "console")).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.strip():
            found[-1][1].append(line)
    return found


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def test_make_has_the_verbs_of_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in READMES:
        verbs = re.findall(r"^make ([a-z-]+)", path.read_text(encoding="utf-8"), re.M)
        assert verbs == ["run", "test"]
        assert all(re.search(rf"^{verb}:", makefile, re.M) for verb in verbs)


def test_both_languages_say_the_same_commands_and_sources() -> None:
    english, chinese = (transcript(path) for path in READMES)
    said = [command.split("#")[0].strip() for command, _ in english]
    assert [command.split("#")[0].strip() for command, _ in chinese] == [c for c in said if c in dict_of(chinese)]
    assert len(chinese) >= 5
    one, other = (yaml.safe_load(blocks(path, "yaml")[0]) for path in READMES)
    assert one == other
    headings = [re.findall(r"^#+ ", path.read_text(encoding="utf-8"), re.M) for path in READMES]
    assert headings[0] == headings[1]


def dict_of(commands: list[tuple[str, list[str]]]) -> set[str]:
    return {command.split("#")[0].strip() for command, _ in commands}


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_the_source_of_the_readme_is_valid(path: Path, tmp_path: Path) -> None:
    from fangcuan.ingest.source import load_source

    text = blocks(path, "yaml")[0]
    folder = tmp_path / "erp_sales"
    folder.mkdir()
    (folder / "source.yml").write_text(text, encoding="utf-8")
    spec = load_source(folder)
    assert spec.feeds[0].relation == "sales"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", [*READMES, ROOT / "docs" / "casework.md"], ids=lambda path: path.name)
def test_the_commands_say_what_the_readme_says(path: Path, tmp_path: Path) -> None:
    """Lines come in this order; `…` stands for anything."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FANGCUAN_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    commands = transcript(path)
    assert len(commands) >= 5
    for command, lines in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        if said := re.search(r"(?:ends with|退出码) (\d+)", command):
            assert done.returncode == int(said[1]), f"{command}\n{done.stderr}"
        else:
            assert done.returncode in ANSWERS, f"{command}\n{done.stderr}"
        at, printed = 0, [squeezed(line) for line in [*done.stdout.splitlines(), *done.stderr.splitlines()]]
        for line in lines:
            pattern = re.compile(re.escape(squeezed(line)).replace("…", ".*"))
            match = next((n for n, text in enumerate(printed[at:], at) if pattern.fullmatch(text)), None)
            if squeezed(line) != "…":
                assert match is not None, f"{command}\n{line!r} is not in:\n{done.stdout}"
                at = match + 1
