"""Writes a BagIt 1.0 folder (RFC 8493) whose payload is an RO-Crate 1.1. Whether one is sound, verify.py says."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from fangcuan.cases.history import proofs

SCRIPT = "verify.py"
MANIFEST = "manifest-sha256.txt"
DECLARATION = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
CRATE = "ro-crate-metadata.json"
#: What the files of a bundle are, for the crate: suffix → media type.
_MEDIA = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".pdf": "application/pdf",
    ".py": "text/x-python",
    ".md": "text/markdown",
}


def script() -> str:
    """The text of the script that verifies a bundle without us."""
    text = resources.files("fangcuan.cases.export").joinpath(SCRIPT).read_text(encoding="utf-8")
    return text.replace('PROOF = ""', f"PROOF = r'''{proofs.script()}'''")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_bag(folder: Path, payload: Mapping[str, bytes], info: Mapping[str, str]) -> str:
    """Write the bag into `folder`, which must not exist; gives the sha256 of `manifest-sha256.txt`, which names every file.

    `payload` is by path below `data/`. Everything is on disk when this returns.
    """
    folder.mkdir(parents=True)
    files = {f"data/{name}": data for name, data in payload.items()}
    manifest = _manifest(files)
    octets = sum(len(data) for data in files.values())
    told = {**info, "Payload-Oxum": f"{octets}.{len(files)}"}
    tags = {
        "bagit.txt": DECLARATION.encode(),
        "bag-info.txt": "".join(f"{name}: {_one_line(value)}\n" for name, value in told.items()).encode(),
        MANIFEST: manifest,
        SCRIPT: script().encode(),
    }
    tags["tagmanifest-sha256.txt"] = _manifest(tags)
    for name, data in {**files, **tags}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    return sha256(manifest)


def crate(number: str, made_at: dt.datetime, files: Mapping[str, bytes], about: Mapping[str, Any]) -> bytes:
    """`ro-crate-metadata.json`: what each file of the payload is. `about` adds to the description of the whole."""
    parts = [
        {
            "@id": name,
            "@type": "File",
            "encodingFormat": _MEDIA.get(Path(name).suffix, "application/octet-stream"),
            "contentSize": str(len(data)),
            "sha256": sha256(data),
        }
        for name, data in sorted(files.items())
    ]
    graph: list[dict[str, Any]] = [
        {
            "@id": CRATE,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"Case {number}",
            "identifier": number,
            "datePublished": made_at.isoformat(timespec="seconds"),
            "license": {"@id": "#use"},
            "hasPart": [{"@id": part["@id"]} for part in parts],
            **about,
        },
        {
            "@id": "#use",
            "@type": "CreativeWork",
            "name": "For the proceedings about this case only",
            "description": "The bundle holds business and personal data. It is not licensed for any other use.",
        },
        *parts,
    ]
    text = json.dumps(
        {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}, ensure_ascii=False, indent=2
    )
    return text.encode() + b"\n"


def _manifest(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{sha256(data)}  {_encoded(name)}\n" for name, data in sorted(files.items())).encode()


def _encoded(name: str) -> str:
    """As RFC 8493 wants file names in manifests: percent sign and line breaks escaped."""
    return name.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")


def _one_line(value: str) -> str:
    return " ".join(value.split())
