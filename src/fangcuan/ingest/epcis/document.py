"""What both syntaxes are read into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fangcuan.ingest.epcis.eventhash import Resolve, event_hash


@dataclass(frozen=True)
class Limits:
    """Bounds on one document. Bytes are counted after decompression."""

    max_bytes: int = 256 * 1024 * 1024
    max_ratio: int = 200


@dataclass(frozen=True)
class VocabularyElement:
    """One master data entry: `kind` is the vocabulary type URI, `attributes` maps attribute URIs to text."""

    kind: str
    id: str
    attributes: Mapping[str, str]
    children: tuple[str, ...] = ()
    position: str = ""


@dataclass(frozen=True)
class Document:
    """A checked EPCIS document.

    `events` are in EPCIS 2.0 JSON form whatever the syntax was, so there is one meaning for rows and hash; `problems`
    holds, by event, what the schema of the syntax allows and the meaning does not (a time without a zone in XML 1.2).
    """

    kind: str
    events: list[dict[str, Any]]
    positions: list[str]
    vocabularies: list[VocabularyElement] = field(default_factory=list)
    problems: Mapping[int, list[dict[str, Any]]] = field(default_factory=dict)
    resolve: Resolve = str
    #: Resolved names of extension fields that the document itself excludes from the hash (`ignoreFields`).
    ignored: frozenset[str] = frozenset()

    def hash_of(self, place: int) -> str:
        """The CBV event hash of `events[place]`."""
        return event_hash(self.events[place], self.resolve, self.ignored)
