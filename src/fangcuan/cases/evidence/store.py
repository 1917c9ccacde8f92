"""The evidence store: files named by the sha256 of their content. What is in it is never changed and never replaced."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20
#: How the file begins that content is written to before it has its name.
_INCOMING = ".incoming-"
#: Flushes in flight at a time: a disk that groups them answers all for the price of one.
_WRITERS = 8


class EvidenceMissing(Exception):
    """No file with this digest; the message names it."""


class EvidenceDamaged(Exception):
    """The file's content is not what its name says; the message names it."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in the store: `digest` as expected (empty for a stray file), `path` below it, `reason` a code."""

    digest: str
    path: str
    reason: str
    message: str


class EvidenceBackend(Protocol):
    """What an evidence store does, wherever it keeps its content; EvidenceStore says how each behaves."""

    def put(self, data: bytes | Iterable[bytes]) -> str: ...

    def put_many(self, contents: Sequence[bytes]) -> list[str]: ...

    def get(self, digest: str) -> bytes: ...

    def __contains__(self, digest: str) -> bool: ...

    def digests(self) -> Iterator[str]: ...

    def scrub(self, expected: Iterable[str] = ()) -> list[Problem]: ...

    def leftovers(self, before: float) -> list[Path]: ...


class EvidenceStore:
    """A local folder, `aa/<sha256>`. Safe for several processes at once: equal content is written once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where the content with this digest lies. Raises ValueError for anything but 64 lower-case hex digits."""
        if not DIGEST.fullmatch(digest):
            raise ValueError(f"not a sha256 digest: {digest!r}")
        return self.folder / digest[:2] / digest

    def put(self, data: bytes | Iterable[bytes]) -> str:
        """Store content and give its sha256. On return the content is on disk, complete and read-only."""
        hasher = hashlib.sha256()
        if isinstance(data, bytes):
            # Known content is not written again, only looked at: the usual case when a night is filed once more.
            hasher.update(data)
            if self._is_complete(hasher.hexdigest(), len(data)):
                return hasher.hexdigest()
            hasher = hashlib.sha256()
            data = (data,)
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=_INCOMING, dir=self.folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in data:
                    hasher.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fchmod(file.fileno(), 0o444)
                os.fsync(file.fileno())
            digest = hasher.hexdigest()
            self._publish(Path(name), self.path(digest))
            return digest
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)

    def put_many(self, contents: Sequence[bytes]) -> list[str]:
        """`put` for each, several flushes at a time; digests in the order given."""
        if len(contents) < _WRITERS:
            return [self.put(content) for content in contents]
        with ThreadPoolExecutor(_WRITERS) as pool:
            return list(pool.map(self.put, contents))

    def get(self, digest: str) -> bytes:
        """The content, checked against its digest. Raises EvidenceMissing or EvidenceDamaged."""
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError as error:
            raise EvidenceMissing(f"no evidence {digest}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise EvidenceDamaged(f"evidence {digest} was altered on disk")
        return data

    def __contains__(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def digests(self) -> Iterator[str]:
        """Digests of all that is stored, sorted."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            yield from sorted(path.name for path in folder.iterdir() if DIGEST.fullmatch(path.name))

    def scrub(self, expected: Iterable[str] = ()) -> list[Problem]:
        """Re-read everything: `altered`, `writable`, `misplaced` files, and those of `expected` that are `missing`."""
        problems = []
        found: set[str] = set()
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                where = f"{folder.name}/{path.name}"
                if not DIGEST.fullmatch(path.name) or path.name[:2] != folder.name or not path.is_file():
                    problems.append(Problem("", where, "misplaced", f"{where} is not named by a digest"))
                    continue
                found.add(path.name)
                if _file_digest(path) != path.name:
                    problems.append(Problem(path.name, where, "altered", f"{where} is not what its name says"))
                if path.stat().st_mode & 0o222:
                    problems.append(Problem(path.name, where, "writable", f"{where} can be written to"))
        for digest in sorted(set(expected) - found):
            problems.append(Problem(digest, f"{digest[:2]}/{digest}", "missing", f"evidence {digest} is missing"))
        return problems

    def leftovers(self, before: float) -> list[Path]:
        """Halves of writes that were killed, last touched before a time (seconds since 1970). No digest names them."""
        found = []
        for path in sorted(self.folder.glob(f"{_INCOMING}*")):
            # A write that ends in this moment takes its file away.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    found.append(path)
        return found

    def _is_complete(self, digest: str, size: int) -> bool:
        try:
            status = self.path(digest).stat()
        except FileNotFoundError:
            return False
        return status.st_size == size

    def _publish(self, incoming: Path, target: Path) -> None:
        target.parent.mkdir(exist_ok=True)
        try:
            # A link refuses to replace what is there; a rename would do it silently.
            os.link(incoming, target)
        except FileExistsError:
            if _file_digest(target) != target.name:
                raise EvidenceDamaged(f"evidence {target.name} was altered on disk") from None
        _flush_folder(target.parent)


def _file_digest(path: Path) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
