"""A home with one judged world, people of every role, and a case that was worked on; and bundles of it, broken in every way."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from fangcuan.flow import audit
from fangcuan.flow.accounts import demo_accounts
from fangcuan.flow.casework import act, attach_file
from fangcuan.flow.exporting import export_case
from fangcuan.flow.installation import Installation

NUMBER = "FC-2026-000001"
COMMENT = "Ling (demo) asked Dealer 郑州 (D2); user:wang will call 𠮷田 \U0001f4de"


def prepare(home: Installation) -> str:
    """Accounts, comments, a decision and a checkpoint; gives the public key."""
    demo_accounts(home)
    act(home, "claim", NUMBER, actor="ling")
    act(home, "triage", NUMBER, actor="ling")
    act(home, "comment", NUMBER, actor="ling", params={"text": COMMENT})
    letter = home.settings.home / "letter.txt"
    letter.write_text("Ling (demo) writes to Dealer 郑州\n", encoding="utf-8")
    kind = {"kind": "correspondence", "note": "from Ling (demo)"}
    attach_file(home, NUMBER, letter, actor="ling", params={**kind, "name": "letter of Ling (demo).txt"})
    act(home, "hold", NUMBER, actor="zhao", params={"note": "Wang (demo) asked for it"})
    grounds = {"kind": "dismiss", "reason": "authorised", "note": "told Ling (demo) by telephone"}
    act(home, "propose", NUMBER, actor="ling", params=grounds)
    act(home, "approve", NUMBER, actor="wang", params={"note": "agreed with Ling (demo)"})
    audit.audit_key(home, "example.com/house")
    made = audit.make_checkpoint(home)
    assert made["state"] == "made", made
    return str(audit.audit_key(home)["public"])


def bundle(home: Installation, folder: Path, profile: str = "auditor", **options: object) -> Path:
    export_case(home, NUMBER, folder, profile=profile, actor="zhao", **options)  # type: ignore[arg-type]
    return folder


def verified(folder: Path, *options: str, script: Path | None = None) -> subprocess.CompletedProcess[str]:
    """verify.py in a Python that finds nothing installed, with an empty environment and, where possible, without a network."""
    command = [sys.executable, "-I", "-S", str(script or folder / "verify.py"), str(folder), *options]
    if os.geteuid() == 0 and shutil.which("unshare"):
        command = ["unshare", "-n", *command]
    return subprocess.run(command, env={}, capture_output=True, text=True, check=False)


def resealed(folder: Path) -> None:
    """Both manifests made anew over what lies there, as somebody would who knows how a bag is made."""
    for name, names in (
        ("manifest-sha256.txt", sorted(p for p in (folder / "data").rglob("*") if p.is_file())),
        ("tagmanifest-sha256.txt", sorted(p for p in folder.iterdir() if p.is_file() and "tagmanifest" not in p.name)),
    ):
        lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in names]
        (folder / name).write_text("".join(lines), encoding="utf-8")
