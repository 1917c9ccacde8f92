"""One EPCIS file, JSON or XML, plain or gzip'd: bytes under a bound to chunks of raw rows."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from fangcuan.ingest.base import RawChunk, Refused
from fangcuan.ingest.epcis import jsondoc, masterdata, rows, xmldoc
from fangcuan.ingest.epcis.document import Document, Limits

_PIECE = 1 << 20
#: Small files may shrink by any factor; a bomb is large.
_RATIO_FLOOR = 16 * 1024 * 1024


def read_bytes(path: Path, limits: Limits) -> bytes:
    """Content of a file, decompressed where it is gzip (known by its first bytes, not by its name).

    Raises Refused: `too_large` beyond `limits.max_bytes` or a compression ratio beyond `limits.max_ratio`, `truncated` or
    `unreadable` for damaged gzip, `empty`.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(2)
        if size > limits.max_bytes:
            raise Refused("too_large", f"{size} bytes are more than the limit of {limits.max_bytes}")
        content = head + stream.read()
    if head == b"\x1f\x8b":
        content = _gunzip(content, limits)
    if not content.strip(b" \t\r\n\x00"):
        raise Refused("empty", "the document is empty")
    return content


def _gunzip(packed: bytes, limits: Limits) -> bytes:
    pieces: list[bytes] = []
    total = 0
    bound = max(_RATIO_FLOOR, limits.max_ratio * len(packed))
    while packed:
        member = zlib.decompressobj(wbits=31)
        rest = packed
        while not member.eof:
            try:
                piece = member.decompress(rest, _PIECE)
            except zlib.error as error:
                raise Refused("unreadable", f"damaged gzip: {error}") from error
            total += len(piece)
            if total > limits.max_bytes:
                raise Refused("too_large", f"more than {limits.max_bytes} bytes after decompression")
            if total > bound:
                raise Refused("too_large", f"decompresses to more than {limits.max_ratio} times its size")
            pieces.append(piece)
            rest = member.unconsumed_tail
            if not piece and not rest and not member.eof:
                raise Refused("truncated", "the gzip data ends before it is complete")
        packed = member.unused_data.lstrip(b"\x00")
    return b"".join(pieces)


def parse(content: bytes) -> Document:
    """The checked document in `content`, whichever syntax it has. Raises Refused."""
    start = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith((b"<", b"\xff\xfe", b"\xfe\xff")):
        return xmldoc.read(content)
    if start.startswith((b"{", b"[")):
        return jsondoc.read(content)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("wrong_encoding", f"neither JSON nor XML, and not UTF-8 at byte {error.start}") from error
    raise Refused("unreadable", "neither JSON nor XML")


def read(
    path: Path,
    chunk_rows: int,
    *,
    limits: Limits | None = None,
    without_things: rows.WithoutThings = "skip",
) -> Iterator[RawChunk]:
    """Chunks of `trace_events`, then of master data where the document has some, each of at most `chunk_rows` rows.

    At least one chunk, which is empty for a document without events. The whole document is checked before the first
    chunk. Raises Refused.
    """
    document = parse(read_bytes(path, limits or Limits()))
    empty = True
    for table in rows.tables(document, chunk_rows, without_things):
        empty = False
        yield RawChunk(table, "trace_events")
    if empty:
        yield RawChunk(rows.SCHEMA.empty_table(), "trace_events")
    yield from masterdata.chunks(document.vocabularies, chunk_rows)
