"""Hides from a case what its reader is not to see, and commits to every hidden value, so that it can be proven later."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from fangcuan.core.canonical import canonical_json
from fangcuan.core.feeds import FEEDS
from fangcuan.core.masters import MASTERS

_PARTNER = "partners.partner_id"
#: Columns that name a thing by its code.
_CODES = ("epc", "parent_epc", "child_epc", "serial")
#: Fields that hold the name of whoever acted or holds the case.
_PEOPLE = frozenset(
    {
        *("actor", "assignee", "author", "to", "terminal", "user_id", "approved_by"),
        *("proposed_by", "proposed_person", "proposed_persons", "decided_by", "decided_person"),
        *("attached_by", "placed_by", "lifted_by", "issued_by", "answered_by", "approved_person"),
        *("reviewed_by", "reviewed_person", "reviewed_persons", "handled_persons"),
    }
)
#: Actors that are no people.
_NOBODY = ("service:", "system:", "package:")
#: Fields with a digest over evidence.
_DIGESTS = frozenset(
    {
        *("evidence_lost", "evidence_root", "evidence_sha256", "decision_evidence_root"),
        *("finding_id", "reported_id", "case_key", "hash", "prev_hash"),
    }
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Title(_Strict):
    zh: str
    en: str


class Profile(_Strict):
    """What is hidden from one kind of reader; see profiles.yml."""

    title: Title
    people: Literal["show", "role"]
    partners: Literal["show", "others"]
    attachments: Literal["show", "withhold"]
    keys: tuple[str, ...]
    digests: tuple[str, ...]


class _Profiles(_Strict):
    version: Literal[1]
    profiles: dict[str, Profile]


@cache
def profiles() -> Mapping[str, Profile]:
    """The profiles that ship with the package, by name."""
    text = resources.files("fangcuan.cases.export").joinpath("profiles.yml").read_text(encoding="utf-8")
    return _Profiles.model_validate(yaml.safe_load(text)).profiles


@dataclass(frozen=True)
class Known:
    """Who is who, for a redaction: names of people with their role, and what every partner is called."""

    people: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    partners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    brands: frozenset[str] = frozenset()


class Redaction:
    """Replaces values by markers such as `[hidden: partner 2]`; equal values get the same marker everywhere.

    Every hidden value is committed to: sha256(salt ‖ value as text), the salt being 32 bytes that only `disclosure` has.
    """

    def __init__(self, name: str, subject: Mapping[str, str], known: Known, secret: bytes | None = None):
        self.name, self.profile = name, profiles()[name]
        self._subject, self._known = subject, known
        self._secret = secret or secrets.token_bytes(32)
        self._markers: dict[str, str] = {}
        self._numbers: Counter[str] = Counter()
        self._foreign: set[str] = set()
        self._texts: dict[str, str] = {}
        self._digests = frozenset(self.profile.digests)
        self.counts: Counter[str] = Counter()
        self.evidence: dict[str, str] = {}

    @property
    def complete(self) -> bool:
        """Whether the profile hides nothing from anybody."""
        hiding = self.profile.people == "role" or self.profile.partners == "others"
        return not (hiding or self.profile.keys or self.profile.digests or self.profile.attachments == "withhold")

    @property
    def hides(self) -> bool:
        """Whether anything was hidden so far."""
        return bool(self._markers)

    def learn(self, artefacts: Sequence[Mapping[str, Any]], everything: str, lost: Sequence[str] = ()) -> None:
        """Look at all of it once before anything is replaced: which codes are others', which names occur.

        `everything` is the text of the whole case, `lost` are digests of evidence the store has no more. Where evidence will
        change, no digest over it is shown either.
        """
        rows = [row for one in artefacts for row in one["snapshot"].get("rows", ())]
        if self.profile.partners == "others":
            self._foreign = self._codes_of_others(rows)
            own = self._subject["id"]
            for partner, names in sorted(self._known.partners.items()):
                if partner != own and partner not in self._known.brands:
                    self._texts |= {text: f"partner:{partner}" for text in (partner, *names) if text in everything}
        if self.profile.people == "role":
            for actor, (role, names) in sorted(self._known.people.items()):
                spelled = (actor, actor.partition(":")[2], *names)
                self._texts |= {text: f"{role}:{actor}" for text in spelled if text in everything}
        if not self.complete:
            self._texts |= {digest: f"digest:{digest}" for digest in lost}
        counts, markers, numbers = self.counts.copy(), dict(self._markers), self._numbers.copy()
        if any(self.apply(one) != one for one in artefacts):
            self._digests = _DIGESTS
        self.counts, self._markers, self._numbers = counts, markers, numbers

    def apply(self, value: Any, where: str = "") -> Any:
        """The value with everything hidden that is to be, and nothing else changed."""
        if not (self.profile.keys or self._digests or self._texts):
            return value
        return self._walk(value, where)

    def told(self) -> dict[str, Any]:
        """`redaction.json`: the profile, how many places of which field were hidden, and the commitments."""
        values = [
            {"marker": marker, "commitment": hashlib.sha256(self._salt(text) + text.encode()).hexdigest()}
            for text, marker in self._markers.items()
        ]
        return {
            "profile": self.name,
            "title": self.profile.title.model_dump(),
            "counts": dict(sorted(self.counts.items())),
            "commitment": "sha256(salt + value), the value in UTF-8; texts as they are, everything else as RFC 8785 JSON",
            "values": sorted(values, key=lambda one: one["marker"]),
            "attachments": self.profile.attachments,
            "evidence": {self._markers[digest]: name for digest, name in self.evidence.items()},
        }

    def disclosure(self) -> dict[str, Any]:
        """What stays with the house: each hidden value with its salt. Somebody who has one line can prove that value only."""
        return {
            "profile": self.name,
            "values": [
                {"marker": marker, "salt": base64.b64encode(self._salt(text)).decode(), "value": text}
                for text, marker in sorted(self._markers.items(), key=lambda item: item[1])
            ],
        }

    def alias(self, digest: str) -> str:
        """The name of redacted evidence in the bundle, instead of the digest of what it was."""
        if digest not in self.evidence:
            self._hide(digest, "digest", "evidence")
            self.evidence[digest] = f"redacted-{len(self.evidence) + 1:03d}"
        return self.evidence[digest]

    def hidden_texts(self) -> list[str]:
        """Every text that was hidden, for whoever wants to see that none of it is left."""
        return sorted(text for text in self._markers if not _is_json(text))

    def _salt(self, text: str) -> bytes:
        return hmac.digest(self._secret, text.encode(), "sha256")

    def _hide(self, value: Any, kind: str, where: str) -> str:
        text = value if isinstance(value, str) else canonical_json(value).decode()
        if text not in self._markers:
            label = kind.split(":", 1)[0]
            same = self._texts.get(text)
            self._markers[text] = self._marker_of(same) if same else self._numbered(label)
        self.counts[where] += 1
        return self._markers[text]

    def _marker_of(self, one: str) -> str:
        """Names of one person or partner share a number; the spellings are told apart by a letter, or one could not be proven."""
        label = one.split(":", 1)[0]
        kept = self._numbers.get(f"={one}")
        if kept is None:
            self._numbers[label] += 1
            self._numbers[f"={one}"] = kept = self._numbers[label]
        self._numbers[f"#{one}"] += 1
        spelling = self._numbers[f"#{one}"]
        return f"[hidden: {label} {kept}{'' if spelling == 1 else chr(95 + spelling)}]"

    def _numbered(self, label: str) -> str:
        self._numbers[label] += 1
        return f"[hidden: {label} {self._numbers[label]}]"

    def _walk(self, value: Any, where: str) -> Any:
        if isinstance(value, Mapping):
            if self.profile.partners == "others" and {"relation", "key", "row"} <= value.keys():
                return self._row(value, where)
            if self._digests and {"relation", "key"} <= value.keys():
                value = {**value, **self._reference(value, where)}
            return {name: self._field(name, item, f"{where}.{name}" if where else name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._walk(item, where) for item in value]
        return self._text(value, where) if isinstance(value, str) else value

    def _field(self, name: str, value: Any, where: str) -> Any:
        if value is None or value == [] or value == {}:
            return value
        if name in self._digests and isinstance(value, str):
            return self._hide(value, "digest", where)
        if name in self._digests and isinstance(value, list) and all(isinstance(item, str) for item in value):
            return [self._hide(item, "digest", where) for item in value]
        if name in self.profile.keys:
            return self._hide(value, _label(name), where)
        if self.profile.people == "role" and name in _PEOPLE:
            if isinstance(value, list):
                return [self._field(name, item, where) for item in value]
            if isinstance(value, str) and not value.startswith(_NOBODY):
                return self._hide(value, "person", where)
        return self._walk(value, where)

    def _row(self, value: Mapping[str, Any], where: str) -> dict[str, Any]:
        """A row of evidence: whole, with codes hidden, or withheld where it speaks of other partners only."""
        relation, row = value["relation"], value["row"]
        named = {row[name] for name in _partner_columns(relation) if row.get(name)}
        others = named - {self._subject["id"]} - self._known.brands
        told = {"relation": relation, **self._reference(value, where)}
        if others and self._subject["id"] not in named:
            withheld = {
                name: self._hide(item, "value", f"{where}.row") for name, item in row.items() if item is not None
            }
            return {**told, "row": {**dict.fromkeys(row), **withheld}}
        shown = {}
        for name, item in row.items():
            foreign = name in _CODES and item in self._foreign
            shown[name] = (
                self._hide(item, "code", f"{where}.row.{name}") if foreign else self._walk(item, f"{where}.row.{name}")
            )
        return {**told, "row": shown}

    def _reference(self, value: Mapping[str, Any], where: str) -> dict[str, str]:
        """Key and digest of a row: the key is made of codes, and of a short row the digest can be guessed back."""
        kinds = {"key": "key", "digest": "digest"}
        return {name: self._hide(value[name], kind, f"{where}.{name}") for name, kind in kinds.items() if name in value}

    def _codes_of_others(self, rows: Sequence[Mapping[str, Any]]) -> set[str]:
        """Codes in rows that name other partners only, and everything packed in them; but none that the subject had as well."""
        own, others, packed = set[str](), set[str](), []
        for one in rows:
            row = one["row"]
            named = {row[name] for name in _partner_columns(one["relation"]) if row.get(name)} - self._known.brands
            codes = {row[name] for name in _CODES if row.get(name)}
            if named:
                (own if self._subject["id"] in named else others).update(codes)
            if row.get("parent_epc"):
                packed.append((row.get("epc") or row.get("child_epc"), row["parent_epc"]))
        return _with_contents(others, packed) - _with_contents(own | {self._subject["id"]}, packed)

    def _text(self, text: str, where: str) -> str:
        """A text without any name that is to be hidden."""
        if not self._texts:
            return text
        pattern = _pattern(tuple(self._texts))
        return pattern.sub(lambda match: self._hide(match[0], self._texts[match[0]], where), text)


def _with_contents(codes: set[str], packed: Sequence[tuple[str, str]]) -> set[str]:
    """The codes and all that is packed in them, at any depth; `packed` has pairs of (inner, outer)."""
    found, before = set(codes), -1
    while len(found) != before:
        before = len(found)
        found |= {inner for inner, outer in packed if outer in found and inner}
    return found


@cache
def _partner_columns(relation: str) -> tuple[str, ...]:
    contract = FEEDS.get(relation) or MASTERS.get(relation)
    if contract is None:
        return ("subject_id",)
    named = [column.name for column in contract.columns if column.references == _PARTNER]
    return (*named, "partner_id") if relation == "partners" else tuple(named)


@cache
def _pattern(texts: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the texts, the longest first; one of letters and digits only where it stands alone."""
    parts = []
    for text in sorted(texts, key=lambda one: (-len(one), one)):
        before = r"(?<![A-Za-z0-9_])" if text[:1].isascii() and text[:1].isalnum() else ""
        after = r"(?![A-Za-z0-9_])" if text[-1:].isascii() and text[-1:].isalnum() else ""
        parts.append(f"{before}{re.escape(text)}{after}")
    return re.compile("|".join(parts))


def _label(name: str) -> str:
    return {"text": "comment", "note": "comment", "fingerprints": "digest"}.get(name, name)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
