"""What a night's verdicts depend on beside its data: content, engine, settings. Kept with the run for its replay."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fangcuan
from fangcuan.content import roots
from fangcuan.core.canonical import canonical_json, digest
from fangcuan.flow.installation import Installation


class ContentRefused(Exception):
    """There is no content where somebody said there was; the message says what was expected."""


#: Files of content that judge a night, per kind.
_FILES = {
    "rules": ("*/*.yml",),
    "sql": ("views/*.sql",),
    "detectors": ("*/detector.yml", "*/*.sql", "*/*.py", "*/README.md"),
}
#: Libraries that compute or write down what a finding says.
LIBRARIES = ("duckdb", "joblib", "numpy", "pyarrow", "rfc8785", "scikit-learn", "sqlglot")
#: Settings that queries name or that decide where a day begins.
SETTINGS = ("timezone", "currency", "default_vat_rate")
#: Parts of this package whose text decides what a finding says.
_ENGINE_PARTS = ("content", "core", "detect", "flow", "warehouse")


def pin(installation: Installation) -> dict[str, Any]:
    """For the plan of a run: {"content": sha256 in the evidence store, "engine": …, "settings": …}."""
    settings = installation.settings
    return {
        "content": installation.evidence.put(content_text(content())),
        "engine": engine(),
        "settings": {name: getattr(settings, name) for name in SETTINGS},
    }


def content() -> dict[str, str]:
    """Text of every content file that judges, by its path below a content folder (`rules/price/below_floor.yml`)."""
    found: dict[str, str] = {}
    for kind, patterns in _FILES.items():
        for pattern in patterns:
            for root, path in roots.files(kind, pattern):
                found[path.relative_to(root).as_posix()] = path.read_text(encoding="utf-8")
    return found


def content_text(files: Mapping[str, str]) -> bytes:
    return canonical_json({"content": files})


def read_content(data: bytes) -> dict[str, str]:
    """The files of `content_text`. Raises ValueError for anything else."""
    files = json.loads(data).get("content")
    if not isinstance(files, dict) or not all(_inside(name) for name in files):
        raise ValueError("not a snapshot of content")
    return {str(name): str(text) for name, text in files.items()}


def folder_content(folder: Path) -> dict[str, str]:
    """The content files of a folder that has rules/, sql/ or detectors/; a rule file alone is one too. Raises ContentRefused."""
    if folder.is_file():
        return {f"rules/{folder.resolve().parent.name}/{folder.name}": folder.read_text(encoding="utf-8")}
    with roots.only(folder):
        found = content()
    if not found:
        raise ContentRefused(
            f"{folder}: no content there; expected a folder with rules/, sql/ or detectors/, or a rule file"
        )
    return found


@contextmanager
def as_content(files: Mapping[str, str]) -> Iterator[None]:
    """Within the block these files are the content, and there is no other."""
    with TemporaryDirectory(prefix="fangcuan-content-") as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        with roots.only(Path(folder)):
            yield


def engine() -> dict[str, Any]:
    """This program and the libraries that judge: {"digest", "fangcuan": {…}, "python", "libraries": {name: {…}}}.

    Each library has its version and sha256: of the list of its installed files with their hashes, of ourselves of the source.
    """
    told = {
        "fangcuan": {"version": fangcuan.__version__, "sha256": _source_sha256()},
        "python": platform.python_version(),
        "libraries": {name: _library(name) for name in LIBRARIES},
    }
    return {"digest": digest(told), **told}


def engine_differences(then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What judged then and is not what judges now: [{"name", "run", "here"}]; the sha256 where versions are the same."""
    if then is None:
        return []
    pairs = [("fangcuan", then.get("fangcuan"), now["fangcuan"]), ("python", then.get("python"), now["python"])]
    libraries = then.get("libraries", {})
    pairs += [(name, libraries.get(name), now["libraries"].get(name)) for name in sorted({*libraries, *LIBRARIES})]
    return [{"name": name, "run": run, "here": here} for name, run, here in pairs if run != here]


def _inside(name: str) -> bool:
    parts = name.split("/")
    return parts[0] in _FILES and len(parts) == 3 and not {"", ".", ".."} & set(parts) and "\\" not in name


@lru_cache(maxsize=1)
def _source_sha256() -> str:
    total = hashlib.sha256()
    for part in _ENGINE_PARTS:
        folder = Path(str(resources.files("fangcuan") / part))
        for path in sorted(folder.glob("*.py")):
            total.update(f"{part}/{path.name}\n".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _is_content(line: str) -> bool:
    return ".dist-info/" not in line and not line.startswith("../")


@lru_cache(maxsize=32)
def _library(name: str) -> dict[str, str | None]:
    found = metadata.distribution(name)
    listed = found.read_text("RECORD")
    # What was compiled or written on this machine (commands name the folder they were put into) says nothing of what it is.
    lines = sorted(line for line in (listed or "").splitlines() if ",sha256=" in line and _is_content(line))
    sha256 = hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None
    return {"version": found.version, "sha256": sha256}
