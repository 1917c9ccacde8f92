"""Export one case: gather it, hide what its reader is not to see, write the bundle, and record who took it."""

from __future__ import annotations

import datetime as dt
import fcntl
import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, select

import fangcuan
from fangcuan.cases import workflow as workflows
from fangcuan.cases.evidence.store import EvidenceDamaged, EvidenceMissing
from fangcuan.cases.export import bag
from fangcuan.cases.export.redaction import Known, Redaction, profiles
from fangcuan.cases.export.report import LANGUAGES, draw
from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.cases.history.notes import NoteError
from fangcuan.cases.history.proofs import NotProvable
from fangcuan.cases.people.access import Actor, actor_name, authorise
from fangcuan.cases.people.areas import area_of
from fangcuan.cases.people.personal import Opened
from fangcuan.cases.refusals import CommandRefused, Conflict, UnknownCase, log_refusal
from fangcuan.cases.views import show_case
from fangcuan.core import failpoints
from fangcuan.core.canonical import plain, utc_text
from fangcuan.flow import audit
from fangcuan.flow.accounts import acting
from fangcuan.flow.explain import render
from fangcuan.flow.installation import Installation
from fangcuan.flow.replay import Replay
from fangcuan.store.accounts import account, role_grant
from fangcuan.store.casework import body_field, case_file, event
from fangcuan.store.catalogue import Run
from fangcuan.store.database import read, write
from fangcuan.store.masters import MASTER_TABLES

COMMAND = "export"
#: What is being written lies in `.<name>.<random>.partial`, the bundle itself in a folder of it.
_PARTIAL, _BUNDLE = ".partial", "bundle"


class ExportRefused(Exception):
    """The bundle was not written; the message says why and what to do."""


@dataclass
class _Gathered:
    """A case as it is: its page, its events as stored, the bytes of its evidence by digest."""

    case: dict[str, Any]
    events: list[dict[str, Any]]
    evidence: dict[str, bytes]
    lost: list[str]
    proof: dict[str, Any] | None = None
    unproven: str = ""
    replay: dict[str, Any] = field(default_factory=dict)
    attachments: dict[str, bytes] = field(default_factory=dict)


def export_case(
    installation: Installation,
    number: str,
    out: Path,
    *,
    profile: str = "auditor",
    actor: str | None = None,
    role: str | None = None,
    replayed: bool = False,
) -> dict[str, Any]:
    """Write the bundle of a case to the folder `out`, which must not exist.

    Gives {"number", "profile", "path", "manifest_sha256", "files", "bytes", "redacted", "disclosure", "seq"}. `replayed` judges
    the case again and lays the verdict beside it. What was hidden stands in `<out>.disclosure.json`, which stays with the house.
    Raises CommandRefused (nothing was written), ExportRefused.
    """
    if profile not in profiles():
        raise ExportRefused(f"profile {profile!r}: expected one of {', '.join(profiles())}")
    disclosure = out.with_name(f"{out.name}.disclosure.json")
    _clear(out, disclosure)
    for path in (out, disclosure):
        if path.exists():
            raise ExportRefused(f"{path} is there already; name a folder that is not")
    who, moment = acting(installation, actor, role=role), dt.datetime.now(dt.UTC)
    with read(installation.engine) as connection:
        refusal = _refused(connection, who, number, profile, moment)
    if refusal is not None:
        log_refusal(installation.engine, refusal, actor=who.name, command=COMMAND, target=number, now=moment)
        raise refusal
    gathered = _gather(installation, number, replayed)
    redaction = Redaction(profile, gathered.case["subject"], _known(installation))
    payload = _payload(gathered, redaction, number, moment)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _working_folder(out) as partial:
        made = partial / _BUNDLE
        manifest = bag.write_bag(made, payload, _info(number, profile, moment))
        seq = _record(installation, who, number, profile, manifest, gathered, moment)
        failpoints.hit("export.recorded")
        if redaction.hides:
            _write_private(partial / disclosure.name, {**redaction.disclosure(), "manifest_sha256": manifest})
            # Whole under its name or not at all, and never over another one.
            os.link(partial / disclosure.name, disclosure)
            failpoints.hit("export.disclosed")
        os.rename(made, out)
        failpoints.hit("export.renamed")
    return {
        "number": number,
        "profile": profile,
        "path": str(out),
        "manifest_sha256": manifest,
        "files": len(payload),
        "bytes": sum(len(data) for data in payload.values()),
        "redacted": dict(sorted(redaction.counts.items())),
        "disclosure": str(disclosure) if redaction.hides else None,
        "seq": seq,
    }


@contextmanager
def _working_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that nobody takes for a bundle, locked while its process lives; it is gone afterwards."""
    partial = out.with_name(f".{out.name}.{uuid4().hex[:12]}{_PARTIAL}")
    partial.mkdir()
    lock = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def _clear(out: Path, disclosure: Path) -> None:
    """Remove what exports to the same place left behind that were killed; one that still runs is left alone.

    Its event stands: it was recorded before it had a name. A disclosure goes only where it is that of a bundle that never
    got its name.
    """
    for partial in out.parent.glob(f".{glob.escape(out.name)}.*{_PARTIAL}"):
        with suppress(OSError):
            lock = os.open(partial, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                manifest = partial / _BUNDLE / bag.MANIFEST
                if manifest.is_file() and disclosure.is_file() and not out.exists():
                    told = json.loads(disclosure.read_bytes())
                    if told.get("manifest_sha256") == bag.sha256(manifest.read_bytes()):
                        disclosure.unlink()
                shutil.rmtree(partial)
            finally:
                os.close(lock)


def _refused(
    connection: Connection, who: Actor, number: str, profile: str, moment: dt.datetime
) -> CommandRefused | None:
    try:
        _authorised(connection, who, number, profile, moment)
    except CommandRefused as error:
        return error
    return None


def _authorised(connection: Connection, who: Actor, number: str, profile: str, moment: dt.datetime) -> str:
    """The role in which the actor may take this bundle. Raises UnknownCase, NotAuthorised, UnknownUser."""
    case = connection.execute(select(case_file).where(case_file.c.number == number)).one_or_none()
    if case is None:
        raise UnknownCase(f"{number}: no such case")
    roles = workflows.default().exporting(profile)
    return authorise(connection, who, COMMAND, roles, moment, area_of(connection, case))


def _record(
    installation: Installation,
    who: Actor,
    number: str,
    profile: str,
    manifest: str,
    gathered: _Gathered,
    moment: dt.datetime,
) -> int:
    """The event of the export, in one transaction with its authorisation. Raises Conflict where the case went on meanwhile."""
    try:
        with write(installation.engine) as connection:
            lock_head(connection)
            role = _authorised(connection, who, number, profile, moment)
            last = _events(connection, number)[-1]["seq"]
            if last != gathered.events[-1]["seq"]:
                raise Conflict(f"{number} went on while it was being exported; export it again")
            data: dict[str, Any] = {"profile": profile, "manifest_sha256": manifest, "upto": str(last), "role": role}
            data |= {"via": via} if (via := who.via()) else {}
            (seq,) = append(connection, [EventDraft("case.exported", who.name, data, case=number)], recorded_at=moment)
    except CommandRefused as refusal:
        log_refusal(installation.engine, refusal, actor=who.name, command=COMMAND, target=number, now=moment)
        raise
    return seq


def _gather(installation: Installation, number: str, replayed: bool) -> _Gathered:
    case = show_case(installation.engine, installation.evidence, number, render, with_times=True)
    with read(installation.engine) as connection:
        events = _events(connection, number)
        runs = {one["run_id"] for each in case["findings_detail"] for one in each["occurrences"]}
        rows = connection.execute(
            select(Run.__table__).where(Run.run_id.in_(sorted(runs))).order_by(Run.night)
        ).mappings()
        told = [{name: plain(value) for name, value in row.items()} for row in rows]
    evidence: dict[str, bytes] = {}
    lost = []
    for sha256 in sorted({one["evidence_sha256"] for each in case["findings_detail"] for one in each["occurrences"]}):
        try:
            evidence[sha256] = installation.evidence.get(sha256)
        except (EvidenceMissing, EvidenceDamaged):
            lost.append(sha256)
    attachments: dict[str, bytes] = {}
    for one in case["attachments"]:
        try:
            attachments[one["sha256"]] = installation.evidence.get(one["sha256"])
        except (EvidenceMissing, EvidenceDamaged):
            lost.append(one["sha256"])
    gathered = _Gathered({**case, "evidence_lost": lost}, events, evidence, lost, attachments=attachments)
    gathered.replay = {"runs": told, "verdict": Replay(installation).case(number) if replayed else None}
    try:
        gathered.proof = audit.prove(installation, number)
    except (NotProvable, NoteError) as error:
        gathered.unproven = str(error)
    return gathered


def _events(connection: Connection, number: str) -> list[dict[str, Any]]:
    query = select(event).where(body_field("case") == number).order_by(event.c.seq)
    return [dict(row) for row in connection.execute(query).mappings()]


def _known(installation: Installation) -> Known:
    """Who is who, for hiding: people by account, and what partners are called in the master data."""
    rank = {name: at for at, name in enumerate(workflows.default().roles)}
    people, partners, brands = {}, dict[str, set[str]](), set()
    with read(installation.engine) as connection:
        held: dict[str, list[str]] = {}
        for user_id, role in connection.execute(select(role_grant.c.user_id, role_grant.c.role)):
            held.setdefault(user_id, []).append(role)
        opened = Opened(connection)
        for row in connection.execute(select(account)):
            role = min(held.get(row.user_id, ["person"]), key=lambda name: rank.get(name, 99))
            if row.kind == "person":
                name = opened.text("name", row.name)
                people[actor_name(row.kind, row.user_id)] = (role, (name,) if name else ())
        table = MASTER_TABLES["partners"]
        for partner_id, name, kind in connection.execute(select(table.c.partner_id, table.c.name, table.c.kind)):
            partners.setdefault(partner_id, set()).add(name or partner_id)
            if kind == "brand":
                brands.add(partner_id)
        aliases = MASTER_TABLES["partner_aliases"]
        for partner_id, seller_ref in connection.execute(select(aliases.c.partner_id, aliases.c.seller_ref)):
            partners.setdefault(partner_id, set()).add(seller_ref)
    named = {key: tuple(sorted(names - {key})) for key, names in partners.items()}
    return Known(people, named, frozenset(brands))


def _payload(gathered: _Gathered, redaction: Redaction, number: str, moment: dt.datetime) -> dict[str, bytes]:
    """Files of the bundle below data/. What is hidden is hidden here, before anything is written or drawn."""
    artefacts = {sha256: json.loads(data) for sha256, data in gathered.evidence.items()}
    bodies = [json.loads(one["body"]) for one in gathered.events]
    whole = json.dumps([gathered.case, bodies, list(artefacts.values())], ensure_ascii=False)
    redaction.learn(list(artefacts.values()), whole, gathered.lost)
    files: dict[str, bytes] = {}
    for sha256, artefact in artefacts.items():
        shown = redaction.apply(artefact, "evidence")
        if shown == artefact:
            files[f"evidence/{sha256}.json"] = gathered.evidence[sha256]
        else:
            files[f"evidence/{redaction.alias(sha256)}.json"] = _json(shown)
    if redaction.profile.attachments == "show":
        files |= {f"attachments/{sha256}": data for sha256, data in gathered.attachments.items()}
    case = _case(gathered.case, redaction)
    files["case.json"] = _json(case)
    told = [redaction.apply(body, "timeline") for body in bodies]
    changed = told != bodies
    files["timeline.jsonl"] = _timeline(gathered.events, told, changed)
    files |= _proofs(gathered, changed)
    files["replay.json"] = _json(redaction.apply(_replay(gathered, redaction), "replay"))
    redacted = redaction.told()
    files["redaction.json"] = _json(redacted)
    for language in LANGUAGES:
        files[f"report-{language}.pdf"] = draw(case, redacted, language, moment)
    about = {"description": f"Profile {redaction.name}; {len(redacted['values'])} values hidden."}
    files[bag.CRATE] = bag.crate(number, moment, files, about)
    return files


def _case(case: Mapping[str, Any], redaction: Redaction) -> dict[str, Any]:
    """The page of the case without what is hidden. Sentences are made anew, from the parameters as they are shown."""
    stripped = json.loads(json.dumps(case))
    for finding in stripped["findings_detail"]:
        for language in ("zh", "en"):
            finding["explanation"].pop(language)
    stripped["explanation"] = None
    shown: dict[str, Any] = redaction.apply(stripped, "case")
    for finding in shown["findings_detail"]:
        told = finding["explanation"]
        told |= {language: render(told["code"], told["params"], language) for language in ("zh", "en")}
    shown["explanation"] = shown["findings_detail"][0]["explanation"] if shown["findings_detail"] else None
    return shown


def _replay(gathered: _Gathered, redaction: Redaction) -> dict[str, Any]:
    """Runs and verdict. Where anything is hidden the verdict says which nights were reproduced, not what differed in them."""
    verdict = gathered.replay["verdict"]
    if verdict is None or redaction.complete:
        return gathered.replay
    told = [{"night": one["night"], "state": one["state"]} for one in verdict["occurrences"]]
    return {**gathered.replay, "verdict": {**verdict, "occurrences": told}}


def _timeline(events: list[dict[str, Any]], told: list[Any], changed: bool) -> bytes:
    """One event a line: exact body and hashes, or, where anything was hidden, what is left of the bodies and no hash at all.

    Hash and path of one event would let its neighbour's hidden words be guessed back.
    """
    lines = []
    for one, body in zip(events, told, strict=True):
        line = {"seq": one["seq"], "body": body} if changed else {**one, "body": one["body"]}
        lines.append(json.dumps(line, ensure_ascii=False, sort_keys=True))
    return ("\n".join(lines) + "\n").encode()


def _proofs(gathered: _Gathered, changed: bool) -> dict[str, bytes]:
    if changed:
        en = (
            "withheld: parts of the events are hidden here, and their hashes would let those be guessed; "
            "ask for the complete bundle"
        )
        zh = "未附：部分事件内容在此隐去，其哈希可能使隐去内容被推出；如需证明请索取完整包"
    elif gathered.proof is None:
        en, zh = f"none: {gathered.unproven}", f"无：{gathered.unproven}"
    else:
        return {"proofs/proof.json": _json(gathered.proof), "proofs/verify_proof.py": audit.proof_script().encode()}
    return {"proofs/none.json": _json({"en": en, "zh": zh})}


def _info(number: str, profile: str, moment: dt.datetime) -> dict[str, str]:
    return {
        "Bagging-Date": moment.date().isoformat(),
        "Bag-Software-Agent": f"fangcuan {fangcuan.__version__}",
        "External-Identifier": number,
        "External-Description": f"Case {number}, profile {profile}, made {utc_text(moment)}",
    }


def _write_private(path: Path, value: Any) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_json(value))
        file.flush()
        os.fsync(file.fileno())


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"
