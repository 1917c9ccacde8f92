"""The audit of one installation: its key, its checkpoints and the places they go to, verification against all of them."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

from fangcuan.cases.history import checkpoints, keys, notes, places, proofs, timestamps
from fangcuan.cases.history import verification as audit
from fangcuan.cases.history.notes import NoteError, UnknownKey, VerifierKey
from fangcuan.cases.history.places import Mailer, PlaceFailed
from fangcuan.cases.history.problems import Problem
from fangcuan.cases.history.timestamps import TimestampRefused
from fangcuan.cases.history.verification import Given, Verification
from fangcuan.flow.installation import Installation
from fangcuan.ingest import secrets
from fangcuan.ingest.secrets import SecretMissing
from fangcuan.settings import SettingsError

#: Names of secrets; both optional.
KEY_SECRET, MAIL_SECRET = "audit_key_passphrase", "audit_smtp_password"


def audit_key(installation: Installation, name: str | None = None, *, renew: bool = False) -> dict[str, Any]:
    """Make the signing key where there is none, else show it: {"state", "path", "public", "earlier"}.

    `name` becomes the origin of the checkpoints (default: one drawn at random); it stays the same when a key is renewed.
    """
    path = installation.settings.audit_key_path
    known = keys.known_keys(path)
    made = renew or not path.exists()
    if made:
        origin = name or (known[-1].name if known else f"fangcuan/{token_hex(4)}")
        keys.generate(path, notes.check_name(origin), _secret(KEY_SECRET), renew=renew)
    key = keys.load(path, _secret(KEY_SECRET))
    others = [str(one) for one in keys.known_keys(path) if one != key.public]
    return {"state": "made" if made else "there", "path": str(path), "public": str(key.public), "earlier": others}


def make_checkpoint(installation: Installation) -> dict[str, Any]:
    """Sign the history as it is, and bring every checkpoint to the places of the settings.

    {"state": "made" | "unchanged" | "no key", "message", "size", "root", "anchors": [{"place", "state", "message", "size"}]}.
    Raises CheckpointRefused for a history that does not verify, KeyRefused for a key that cannot be used.
    """
    settings = installation.settings
    if not settings.audit_key_path.exists():
        message = (
            "no checkpoint: there is no signing key, so nothing shows a rewritten history; run `fangcuan audit key`"
        )
        return {"state": "no key", "message": message, "size": None, "root": None, "anchors": []}
    key = keys.load(settings.audit_key_path, _secret(KEY_SECRET))
    known = keys.known_keys(settings.audit_key_path)
    given, problems = _read_back(installation, known)
    made = checkpoints.make(installation.engine, key, keys=known, given=given, earlier=problems)
    reached = _anchor(installation)
    newest = next(iter(checkpoints.listed(installation.engine)), None)
    size = newest["size"] if newest else None
    message = f"checkpoint over {size} events" if made else "nothing new since the last checkpoint"
    failed = [one for one in reached if one["state"] == "failed"]
    if failed:
        message += "; not reached: " + "; ".join(str(one["message"]) for one in failed)
    elif not (settings.audit_places or settings.audit_tsa):
        message += "; it has left for no other place: set audit_places"
    return {
        "state": "made" if made else "unchanged",
        "message": message,
        "size": size,
        "root": newest["root"] if newest else None,
        "anchors": reached,
    }


def list_checkpoints(installation: Installation) -> list[dict[str, Any]]:
    """All checkpoints, newest first."""
    return checkpoints.listed(installation.engine)


def verify_installation(
    installation: Installation,
    *,
    files: Sequence[Path] = (),
    trusted: Sequence[str] = (),
    projected: bool = True,
) -> Verification:
    """Verify history, checkpoints (of the casebook, of all places that can be read, of `files`), timestamps and tables.

    `trusted` are verifier keys as text; given, they alone are believed, and not those beside the signing key.
    Raises NoteError for a key that is none and SettingsError for a place that is none.
    """
    path = installation.settings.audit_key_path
    known = [VerifierKey.parse(text) for text in trusted] if trusted else keys.known_keys(path)
    given, problems = _read_back(installation, known)
    for file in files:
        try:
            given.append(Given(str(file), file.read_bytes()))
        except OSError as error:
            problems.append(Problem("place_unreadable", {"source": str(file), "why": error.strerror or str(error)}))
    problems += _stamps(installation)
    return audit.verify(installation.engine, keys=known, given=given, earlier=problems, projected=projected)


def prove(installation: Installation, what: str, since: Path | None = None) -> dict[str, Any]:
    """The proof of an event or a case; see `fangcuan.cases.history.proofs.prove`."""
    known = keys.known_keys(installation.settings.audit_key_path)
    return proofs.prove(installation.engine, what, known, since.read_bytes() if since else None)


def proof_script() -> str:
    """The script that verifies a proof with the standard library alone."""
    return proofs.script()


def _anchor(installation: Installation) -> list[dict[str, Any]]:
    """Bring checkpoints where they still have to go. One place that fails holds up no other; the timestamp comes first, so
    that it can travel with the checkpoint.
    """
    rows = checkpoints.listed(installation.engine)
    results: list[dict[str, Any]] = []
    if installation.settings.audit_tsa:
        results += _stamp(installation, rows)
    done = checkpoints.anchors(installation.engine)
    tokens = {one["size"]: base64.b64decode(one["receipt"]) for one in done if one["kind"] == "tsa"}
    for text, place in _places(installation):
        for row in checkpoints.pending(rows, done, text):
            contents = {places.SUFFIX: row["note"].encode()}
            if row["size"] in tokens:
                contents[places.TOKEN_SUFFIX] = tokens[row["size"]]
            result = {"place": text, "size": row["size"], "state": "anchored", "message": ""}
            try:
                receipt = place.put(places.file_name(row["origin"], row["size"]), contents)
                checkpoints.record_anchor(installation.engine, row["size"], text, place.kind, receipt)
            except PlaceFailed as error:
                results.append({**result, "state": "failed", "message": str(error)})
                break
            results.append(result)
    return results


def _stamp(installation: Installation, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    url = installation.settings.audit_tsa
    results: list[dict[str, Any]] = []
    for row in checkpoints.pending(rows, checkpoints.anchors(installation.engine), url):
        result = {"place": url, "size": row["size"], "state": "anchored", "message": ""}
        try:
            answer = timestamps.ask(url, row["note"].encode(), _roots(installation))
        except TimestampRefused as error:
            return [*results, {**result, "state": "failed", "message": str(error)}]
        checkpoints.record_anchor(installation.engine, row["size"], url, "tsa", base64.b64encode(answer).decode())
        results.append(result)
    return results


def _read_back(installation: Installation, known: Sequence[VerifierKey]) -> tuple[list[Given], list[Problem]]:
    """Checkpoints of this history from all places that can be read, and what is wrong with the places.

    A place may serve several installations: what only unknown names signed is passed over, unless it went there from here.
    """
    given: list[Given] = []
    problems: list[Problem] = []
    rows = {row["size"]: row for row in _safely(checkpoints.listed, installation)}
    anchors = _safely(checkpoints.anchors, installation)
    for text, place in _places(installation):
        sent = {
            places.file_name(rows[one["size"]]["origin"], one["size"]) + places.SUFFIX: one["size"]
            for one in anchors
            if one["place"] == text and one["size"] in rows
        }
        try:
            found = place.read()
        except PlaceFailed as error:
            # A place to which nothing has gone yet does not have to exist.
            if sent:
                problems.append(Problem("place_unreadable", {"source": text, "why": str(error)}))
            continue
        if found is None:
            continue
        for name, note in sorted(found.items()):
            if name in sent or _is_ours(note, known):
                given.append(Given(f"{text} {name}", note))
        for name, size in sorted(sent.items()):
            if name not in found:
                problems.append(Problem("anchor_gone", {"source": f"{text} {name}", "size": size}))
    return given, problems


def _is_ours(note: bytes, known: Sequence[VerifierKey]) -> bool:
    try:
        notes.open_checkpoint(note, known)
    except UnknownKey:
        return False
    except NoteError:
        return True
    return True


def _stamps(installation: Installation) -> list[Problem]:
    rows = {row["size"]: row for row in _safely(checkpoints.listed, installation)}
    problems = []
    for one in _safely(checkpoints.anchors, installation):
        if one["kind"] != "tsa" or one["size"] not in rows:
            continue
        try:
            answer = base64.b64decode(one["receipt"], validate=True)
            timestamps.check(answer, rows[one["size"]]["note"].encode(), _roots(installation))
        except (TimestampRefused, ValueError) as error:
            what = {"place": one["place"], "size": one["size"], "why": str(error)}
            problems.append(Problem("timestamp_altered", what))
    return problems


def _safely(query: Any, installation: Installation) -> list[dict[str, Any]]:
    """A casebook that cannot be read is told by the verification itself, with the right code."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        found: list[dict[str, Any]] = query(installation.engine)
    except (SQLAlchemyError, ValueError, TypeError):
        return []
    return found


def _places(installation: Installation) -> list[tuple[str, places.Place]]:
    settings = installation.settings
    mailer = Mailer(settings.audit_smtp, settings.audit_mail_from, _secret(MAIL_SECRET))
    found = []
    for text in settings.audit_places:
        try:
            place = places.open_place(text, mailer)
        except ValueError as error:
            raise SettingsError(str(error)) from error
        if isinstance(place, places.FolderPlace) and not place.folder.is_absolute():
            place = places.FolderPlace(settings.home / place.folder)
        found.append((text, place))
    return found


def _roots(installation: Installation) -> Path | None:
    text = installation.settings.audit_tsa_roots
    if not text:
        return None
    path = installation.settings.home / text
    if not os.access(path, os.R_OK):
        raise SettingsError(f"audit_tsa_roots: {path} cannot be read; expected certificates in PEM")
    return path


def _secret(name: str) -> str | None:
    try:
        return secrets.get(name)
    except SecretMissing:
        return None
