"""Bytes as received, kept under their digest before anything is parsed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4


class RawStore:
    """Content-addressed files below `root`: the same document received twice is stored once."""

    def __init__(self, root: Path):
        self.root = root

    def path(self, sha256: str) -> Path:
        return self.root / sha256[:2] / sha256

    def stage(self, blocks: Iterator[bytes]) -> tuple[Path, str, int]:
        """Write `blocks`; gives (path, sha256, size in bytes). A name is only ever given to a whole document."""
        self.root.mkdir(parents=True, exist_ok=True)
        partial = self.root / f".{uuid4().hex}.partial"
        digest, size = hashlib.sha256(), 0
        try:
            with partial.open("xb") as handle:
                for block in blocks:
                    digest.update(block)
                    size += len(block)
                    handle.write(block)
                handle.flush()
                os.fsync(handle.fileno())
            name = digest.hexdigest()
            target = self.path(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        return target, name, size
