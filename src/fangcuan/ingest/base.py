"""What passes between the steps of ingest: fetch → read → map → gate → load."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pyarrow as pa
from pydantic import BaseModel

#: Column of a raw chunk that says where a row stood in its document (`row 17`, `eventList[3]`, `sheet Prices row 4`).
POSITION = "_position"
#: Column of a raw chunk in which a reader may say, row by row, what is already known to be wrong
#: (JSON list of {"reason","column","value","expected"}); empty or absent where nothing is.
PROBLEMS = "_problems"


class Refused(Exception):
    """A whole document cannot be used: unreadable, wrong encoding, truncated, schema violated, mandatory column missing.

    Nothing of it is loaded; the receipt carries `reason` (a code), `message`, and `column` or `position` where known.
    """

    def __init__(self, reason: str, message: str, *, column: str | None = None, position: str | None = None):
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.column = column
        self.position = position


class SourceUnavailable(Exception):
    """The source could not be asked (down, timed out, refused the credentials). Nothing was looked at."""


@dataclass(frozen=True)
class RawDocument:
    """Bytes as received, staged under their digest before anything is parsed."""

    source_id: str
    name: str
    path: Path
    sha256: str
    size: int
    arrived_on: dt.date
    #: What to remember once this document is loaded, e.g. the highest watermark read; stored with the receipt.
    watermark: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RawChunk:
    """A bounded number of raw rows of one document. `relation` is set by readers that know it (EPCIS), else None."""

    table: pa.Table
    relation: str | None = None


@dataclass(frozen=True)
class FetchContext:
    """What a connector may use. `stage` copies a stream under its digest and returns (path, sha256, size)."""

    source_id: str
    night: dt.date
    folder: Path
    stage: Callable[[Iterator[bytes]], tuple[Path, str, int]]
    state: Mapping[str, Any] = field(default_factory=dict)
    secrets: Callable[[str], str] = lambda name: ""
    progress: Callable[[str], None] = lambda message: None


class Connector(Protocol):
    """One connector kind, one module. `fetch` only moves bytes; `read` only parses them, so a document can be re-read later."""

    kind: ClassVar[str]
    Options: ClassVar[type[BaseModel]]

    def fetch(self, options: Any, context: FetchContext) -> Iterator[RawDocument]:
        """Documents that are new since `context.state`, oldest first. Raises SourceUnavailable."""
        ...

    def read(self, document: RawDocument, options: Any, chunk_rows: int) -> Iterator[RawChunk]:
        """Rows of one document in bounded chunks. Raises Refused."""
        ...
