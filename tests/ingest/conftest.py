"""What tests of ingest share: staging, fetch contexts and a source folder to write into."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fangcuan.ingest import connectors
from fangcuan.ingest.base import FetchContext, RawDocument, Refused

NIGHT = dt.date(2026, 3, 20)


def _stage(folder: Path) -> Callable[[Iterator[bytes]], tuple[Path, str, int]]:
    def stage(pieces: Iterator[bytes]) -> tuple[Path, str, int]:
        digest, size = hashlib.sha256(), 0
        partial = folder / "partial"
        with partial.open("wb") as out:
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                out.write(piece)
        final = folder / digest.hexdigest()
        partial.replace(final)
        return final, digest.hexdigest(), size

    return stage


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., FetchContext]:
    staged = tmp_path / "staged"
    staged.mkdir()

    def make(**more: Any) -> FetchContext:
        values = {"source_id": "s", "night": NIGHT, "folder": tmp_path, "stage": _stage(staged), **more}
        return FetchContext(**values)

    return make


@pytest.fixture
def fetch(context: Callable[..., FetchContext]) -> Callable[..., list[RawDocument]]:
    """Documents of one fetch: `fetch("files", {...options}, state=...)`."""

    def run(kind: str, options: dict[str, Any], **more: Any) -> list[RawDocument]:
        connector = connectors.get(kind)
        return list(connector.fetch(connector.Options.model_validate(options), context(**more)))

    return run


@pytest.fixture
def rows() -> Callable[..., list[dict[str, Any]]]:
    """Raw rows of a document as dictionaries, read in chunks."""

    def run(kind: str, document: RawDocument, options: dict[str, Any], chunk_rows: int = 1000) -> list[dict[str, Any]]:
        connector = connectors.get(kind)
        parsed = connector.Options.model_validate(options)
        return [row for chunk in connector.read(document, parsed, chunk_rows) for row in chunk.table.to_pylist()]

    return run


@pytest.fixture
def read_file(tmp_path: Path, fetch: Any, rows: Any) -> Callable[..., list[dict[str, Any]]]:
    """Rows of one file with that name and content."""

    def run(name: str, content: bytes | str, chunk_rows: int = 1000, **options: Any) -> list[dict[str, Any]]:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        wanted = {"path": name, **options}
        (document,) = fetch("files", wanted)
        return rows("files", document, wanted, chunk_rows)

    return run


@pytest.fixture
def refusal(read_file: Any) -> Callable[..., Refused]:
    """The refusal of a file that must be refused."""

    def run(name: str, content: bytes | str, **options: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            read_file(name, content, **options)
        return caught.value

    return run


@pytest.fixture(scope="session")
def postgres_url() -> str:
    return os.environ.get("FANGCUAN_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
