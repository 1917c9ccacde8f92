"""The evidence store in a bucket: an S3-compatible store through fsspec, with retention where the bucket has object lock."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fangcuan.cases.evidence.store import DIGEST, EvidenceDamaged, EvidenceMissing, Problem

_CHUNK = 1 << 20
#: Content that comes in pieces is kept in memory up to here until its digest, which names it, is known.
_IN_MEMORY = 8 << 20
#: Requests in flight at a time.
_WRITERS = 8
LOCKS = ("governance", "compliance")


class EvidenceUnreachable(Exception):
    """The bucket did not answer, or refused; the message says what it said. Trying again later may help."""


@dataclass(frozen=True)
class Retention:
    """`mode` of S3 object lock and for how many days after it was put. `compliance`: nobody can shorten it."""

    mode: str
    days: int

    def headers(self, now: dt.datetime) -> dict[str, Any]:
        return {"ObjectLockMode": self.mode.upper(), "ObjectLockRetainUntilDate": now + dt.timedelta(days=self.days)}


class BucketEvidence:
    """`s3://bucket/prefix`, an object `aa/<sha256>` each. Safe for several processes at once: nothing is replaced.

    Address and credentials of the store are found by its client (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …).
    """

    def __init__(self, url: str, retention: Retention | None = None) -> None:
        self.url = url
        self.retention = retention

    def path(self, digest: str) -> str:
        """The object with this digest. Raises ValueError for anything but 64 lower-case hex digits."""
        if not DIGEST.fullmatch(digest):
            raise ValueError(f"not a sha256 digest: {digest!r}")
        return f"{self._root}/{digest[:2]}/{digest}"

    def put(self, data: bytes | Iterable[bytes]) -> str:
        """Store content and give its sha256. On return the store has taken it, and has computed the same sha256."""
        if isinstance(data, bytes):
            return self._put(data)
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
            for chunk in data:
                file.write(chunk)
            file.seek(0)
            return self._put(file.read())

    def put_many(self, contents: Sequence[bytes]) -> list[str]:
        """`put` for each, several at a time; digests in the order given."""
        with ThreadPoolExecutor(_WRITERS) as pool:
            return list(pool.map(self.put, contents))

    def get(self, digest: str) -> bytes:
        """The content, checked against its digest. Raises EvidenceMissing, EvidenceDamaged or EvidenceUnreachable."""
        try:
            with self._asking():
                data: bytes = self._system.cat_file(self.path(digest))
        except FileNotFoundError as error:
            raise EvidenceMissing(f"no evidence {digest}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise EvidenceDamaged(f"evidence {digest} was altered in {self.url}")
        return data

    def __contains__(self, digest: str) -> bool:
        return self._size(digest) is not None

    def digests(self) -> Iterator[str]:
        """Digests of all that is stored, sorted."""
        yield from sorted(name for name, where in self._objects() if where == f"{name[:2]}/{name}")

    def scrub(self, expected: Iterable[str] = ()) -> list[Problem]:
        """Read everything: `altered`, `misplaced` objects, those that can be removed (`writable`) though a retention is set,
        and those of `expected` that are `missing`.
        """
        problems = []
        found: set[str] = set()
        for name, where in self._objects():
            if not DIGEST.fullmatch(name) or where != f"{name[:2]}/{name}":
                problems.append(Problem("", where, "misplaced", f"{where} is not named by a digest"))
                continue
            found.add(name)
            if self._digest(name) != name:
                problems.append(Problem(name, where, "altered", f"{where} is not what its name says"))
            if self.retention is not None and not self._retained(name):
                problems.append(Problem(name, where, "writable", f"{where} has no retention and can be removed"))
        for digest in sorted(set(expected) - found):
            problems.append(Problem(digest, f"{digest[:2]}/{digest}", "missing", f"evidence {digest} is missing"))
        return problems

    def leftovers(self, before: float) -> list[Path]:
        """None: an object is there when it is complete, and not before."""
        return []

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        try:
            # A listing that was remembered would not show what somebody else did to the bucket.
            system, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError as error:
            raise EvidenceUnreachable(f"{self.url}: {error}; install fangcuan[s3]") from error
        return system, str(root).rstrip("/")

    @property
    def _system(self) -> Any:
        return self._opened[0]

    @property
    def _root(self) -> str:
        return self._opened[1]

    def _put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data)
        digest = sha256.hexdigest()
        if self._size(digest) == len(data):
            return digest
        headers: dict[str, Any] = {"ChecksumSHA256": base64.b64encode(sha256.digest()).decode()}
        if self.retention is not None:
            # Object lock takes no object without this one, whatever other checksum comes along.
            headers["ContentMD5"] = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
            headers |= self.retention.headers(dt.datetime.now(dt.UTC))
        try:
            with self._asking():
                bucket, key, _ = self._system.split_path(self.path(digest))
                self._system.call_s3("put_object", Bucket=bucket, Key=key, Body=data, IfNoneMatch="*", **headers)
        except FileNotFoundError as error:
            raise EvidenceUnreachable(f"{self.url}: no such bucket") from error
        except FileExistsError:
            # Another process was faster, or something else lies there.
            self.get(digest)
        return digest

    def _size(self, digest: str) -> int | None:
        try:
            with self._asking():
                return int(self._system.info(self.path(digest))["size"])
        except FileNotFoundError:
            return None

    def _objects(self) -> list[tuple[str, str]]:
        """(name, path below the root) of every object, sorted."""
        with self._asking():
            paths = self._system.find(self._root)
        below = (str(path)[len(self._root) + 1 :] for path in paths)
        return sorted((path.rpartition("/")[2], path) for path in below)

    def _digest(self, digest: str) -> str:
        hasher = hashlib.sha256()
        with self._asking(), self._system.open(self.path(digest), "rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
        return hasher.hexdigest()

    def _retained(self, digest: str) -> bool:
        bucket, key, _ = self._system.split_path(self.path(digest))
        try:
            with self._asking():
                found = self._system.call_s3("head_object", Bucket=bucket, Key=key)
        except FileNotFoundError:
            return False
        until = found.get("ObjectLockRetainUntilDate")
        return until is not None and until > dt.datetime.now(dt.UTC)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code in {"PreconditionFailed", "ConditionalRequestConflict"}:
                raise FileExistsError(self.url) from error
            raise EvidenceUnreachable(f"{self.url}: {code}") from error
        except (BotoCoreError, OSError) as error:
            raise EvidenceUnreachable(f"{self.url}: {type(error).__name__}: {error}") from error
