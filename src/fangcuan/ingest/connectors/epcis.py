"""EPCIS documents (JSON, JSON-LD, XML; plain or gzip'd) from local folders or anything fsspec can open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fangcuan.ingest.base import FetchContext, RawChunk, RawDocument, Refused
from fangcuan.ingest.connectors.files import FilesConnector, FilesOptions
from fangcuan.ingest.epcis import reader
from fangcuan.ingest.epcis.document import Limits

_MIB = 1024 * 1024


class EpcisOptions(BaseModel):
    """Options of the `epcis` connector.

    `path` is one pattern or several, with the meaning it has for `files`: below the source's folder, absolute, or an fsspec
    URL; `*`, `?`, `**` and `{night:%Y-%m-%d}`. With `pattern`, `path` is a folder whose files of that name are read, those of
    its subfolders too where `recursive` is set. `max_bytes` bounds a document after decompression, because a document is
    checked as a whole before its first row is used; `max_ratio` bounds how far gzip may expand.
    `without_things` says what becomes of events that name no thing (a sensor reading of a room): they are left out, or
    quarantined.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | tuple[str, ...]
    pattern: str | None = None
    recursive: bool = False
    arrival: Literal["from_name", "night"] | None = None
    max_bytes: Annotated[int, Field(ge=1)] = 256 * _MIB
    max_ratio: Annotated[int, Field(ge=1)] = 200
    without_things: Literal["skip", "quarantine"] = "skip"
    settle_seconds: Annotated[float, Field(ge=0)] = 0
    storage: dict[str, Any] = {}
    secrets: dict[str, str] = {}

    @model_validator(mode="after")
    def _checked(self) -> EpcisOptions:
        if self.recursive and self.pattern is None:
            raise ValueError("recursive needs a pattern; or write ** in the path")
        self.files()
        return self

    def files(self) -> FilesOptions:
        """The same places as options of the `files` connector, which does the fetching."""
        paths = (self.path,) if isinstance(self.path, str) else self.path
        if self.pattern is not None:
            inside = f"**/{self.pattern}" if self.recursive else self.pattern
            paths = tuple(f"{path.rstrip('/')}/{inside}" for path in paths)
        return FilesOptions(
            path=paths,
            arrival=self.arrival,
            max_bytes=self.max_bytes,
            settle_seconds=self.settle_seconds,
            storage=self.storage,
            secrets=self.secrets,
        )


class EpcisConnector:
    """See EpcisOptions. State is that of the `files` connector: which file was read in which version."""

    kind: ClassVar[str] = "epcis"
    Options: ClassVar[type[BaseModel]] = EpcisOptions

    def fetch(self, options: EpcisOptions, context: FetchContext) -> Iterator[RawDocument]:
        """Documents that arrived by `context.night` and are new since `context.state`. Raises SourceUnavailable."""
        yield from FilesConnector().fetch(options.files(), context)

    def read(self, document: RawDocument, options: EpcisOptions, chunk_rows: int) -> Iterator[RawChunk]:
        """Chunks of `trace_events`, then `partners` and `products` where the document carries master data.

        At least one chunk, which may be empty. Raises Refused before the first row where the document is not usable.
        """
        if document.size > options.max_bytes:
            raise Refused("too_large", f"more than {options.max_bytes} bytes; raise max_bytes if that is right")
        limits = Limits(options.max_bytes, options.max_ratio)
        yield from reader.read(document.path, chunk_rows, limits=limits, without_things=options.without_things)
