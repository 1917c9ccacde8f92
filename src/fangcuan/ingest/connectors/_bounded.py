"""Byte streams that refuse to grow without end."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from fangcuan.ingest.base import Refused

#: A gzip member of honest rows seldom shrinks more than this; beyond it (and beyond the floor) the file is a bomb.
MAX_RATIO = 400
RATIO_FLOOR = 256 * 1024 * 1024


class BoundedReader(io.RawIOBase):
    """Reads `stream` and raises Refused when more than `limit` bytes come out, when gzip data ends early or is damaged.

    Counts what CSV needs to notice a cut file: quote characters and the last byte.
    """

    def __init__(self, stream: BinaryIO, limit: int, *, quote: bytes = b"", refuse_nul: bool = False):
        super().__init__()
        self._stream = stream
        self._limit = limit
        self._quote = quote
        self._refuse_nul = refuse_nul
        self.count = 0
        self.quotes = 0
        self.last = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self._limit + 1 - self.count if size is None or size < 0 else size
        return self._counted(self._pull(max(wanted, 0), line=False))

    def readline(self, size: int | None = -1) -> bytes:
        return self._counted(self._pull(size if size is not None else -1, line=True))

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _pull(self, size: int, *, line: bool) -> bytes:
        try:
            return self._stream.readline(size) if line else self._stream.read(size)
        except EOFError as error:
            where = f"byte {self.count}"
            raise Refused("truncated", "the gzip data ends before its end marker", position=where) from error
        except (zlib.error, gzip.BadGzipFile) as error:
            raise Refused("unreadable", f"damaged gzip data ({error})", position=f"byte {self.count}") from error
        except OSError as error:
            raise Refused("unreadable", f"cannot be read ({error})", position=f"byte {self.count}") from error

    def _counted(self, data: bytes) -> bytes:
        if self._refuse_nul and b"\0" in data:
            where = f"byte {self.count + data.index(0)}"
            raise Refused("wrong_encoding", "a NUL byte: binary data, or text in another encoding", position=where)
        self.count += len(data)
        if self.count > self._limit:
            raise Refused("too_large", f"more than {self._limit} bytes when unpacked")
        if data:
            self.quotes += data.count(self._quote) if self._quote else 0
            self.last = data[-1:]
        return data

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_bounded(path: Path, name: str, limit: int, *, quote: bytes = b"", refuse_nul: bool = False) -> BoundedReader:
    """The bytes of a staged document, unpacked where `name` ends in .gz. Raises Refused."""
    try:
        if name.lower().endswith(".gz"):
            limit = min(limit, max(RATIO_FLOOR, path.stat().st_size * MAX_RATIO))
            stream = cast(BinaryIO, gzip.GzipFile(filename=path, mode="rb"))
        else:
            stream = path.open("rb")
    except OSError as error:
        raise Refused("unreadable", f"cannot be opened ({error.strerror})") from error
    return BoundedReader(stream, limit, quote=quote, refuse_nul=refuse_nul)
