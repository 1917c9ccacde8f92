"""A folder of files named after the relations they hold: `master/partners.csv`, `master/regions.parquet`, …"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from fangcuan.core.feeds import FEEDS
from fangcuan.core.masters import DECIDED, MASTERS
from fangcuan.ingest.base import FetchContext, RawChunk, RawDocument, Refused
from fangcuan.ingest.connectors.files import FilesConnector


class FolderOptions(BaseModel):
    """Options of the `folder` connector: `path` is the folder, local or any fsspec URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str

    @property
    def files(self) -> Any:
        return FilesConnector.Options.model_validate({"path": f"{self.path.rstrip('/')}/*.*", "arrival": "night"})


class FolderConnector:
    """Files that changed since they were last read, those that others refer to first. State as of the `files` connector."""

    kind: ClassVar[str] = "folder"
    Options: ClassVar[type[BaseModel]] = FolderOptions

    def fetch(self, options: FolderOptions, context: FetchContext) -> Iterator[RawDocument]:
        """Raises SourceUnavailable when there is no such folder."""
        documents = list(FilesConnector().fetch(options.files, context))
        yield from sorted(documents, key=lambda document: (_depth(self.relation_of(document)), document.name))

    def relation_of(self, document: RawDocument) -> str:
        """The relation a document holds, by its name."""
        return PurePosixPath(document.name).name.split(".", 1)[0]

    def read(self, document: RawDocument, options: FolderOptions, chunk_rows: int) -> Iterator[RawChunk]:
        """Rows of one file. Raises Refused, also for a file whose name is no relation."""
        relation = self.relation_of(document)
        if relation in DECIDED:
            raise Refused(
                "not_loaded",
                f"{document.name}: {relation} is approved, not loaded; `fangcuan policies propose {relation} FILE`",
            )
        if relation not in FEEDS and relation not in MASTERS:
            raise Refused(
                "unknown_relation", f"{document.name}: {relation!r} is no relation of the contract; rename the file"
            )
        for chunk in FilesConnector().read(document, options.files, chunk_rows):
            yield RawChunk(chunk.table, relation)


def _depth(name: str, above: tuple[str, ...] = ()) -> int:
    """How many relations stand between this one and one that refers to nothing."""
    relation = MASTERS.get(name) or FEEDS.get(name)
    if relation is None or name in above:
        return 0
    below = {column.references.split(".")[0] for column in relation.columns if column.references} - {name}
    return 1 + max((_depth(other, (*above, name)) for other in below), default=-1)
