"""What is in the evidence store stays as it was put there, and damage is named."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fangcuan.cases.evidence.store import EvidenceDamaged, EvidenceMissing, EvidenceStore


@pytest.fixture
def store(tmp_path: Path) -> EvidenceStore:
    return EvidenceStore(tmp_path / "evidence")


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def test_content_comes_back_under_its_digest(store: EvidenceStore) -> None:
    digest = store.put("底价".encode())
    assert digest == hashlib.sha256("底价".encode()).hexdigest()
    assert store.get(digest) == "底价".encode()
    assert digest in store
    assert store.path(digest).parent.name == digest[:2]
    assert store.path(digest).stat().st_mode & 0o777 == 0o444
    assert list(store.digests()) == [digest]
    assert store.put("底价".encode()) == digest
    assert [path.name for path in store.folder.iterdir()] == [digest[:2]]


def test_a_stream_is_hashed_while_it_is_written(store: EvidenceStore) -> None:
    digest = store.put(bytes([number]) * 1000 for number in range(5))
    assert len(store.get(digest)) == 5000


def test_a_stream_that_breaks_leaves_nothing(store: EvidenceStore) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield b"half"
        raise OSError("source gone")

    with pytest.raises(OSError, match="source gone"):
        store.put(broken())
    assert list(store.folder.iterdir()) == []


def test_put_many_keeps_the_order(store: EvidenceStore) -> None:
    contents = [str(number).encode() for number in range(100)]
    assert store.put_many([*contents, contents[0]]) == [
        hashlib.sha256(content).hexdigest() for content in [*contents, contents[0]]
    ]
    assert store.scrub() == []


def test_the_same_content_from_many_threads_and_processes(store: EvidenceStore) -> None:
    code = (
        "import sys; from pathlib import Path; from fangcuan.cases.evidence.store import EvidenceStore\n"
        "print(EvidenceStore(Path(sys.argv[1])).put(b'x' * 100_000))"
    )
    arguments = [sys.executable, "-c", code, str(store.folder)]
    processes = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(store.put(b"x" * 100_000))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found += [process.communicate()[0].strip() for process in processes]
    assert set(found) == {hashlib.sha256(b"x" * 100_000).hexdigest()}
    assert len(found) == 11
    assert store.scrub() == []
    assert len(list(store.folder.rglob("*"))) == 2


def test_unknown_and_malformed_digests(store: EvidenceStore) -> None:
    with pytest.raises(EvidenceMissing, match="no evidence"):
        store.get("a" * 64)
    for digest in ("", "../../etc/passwd", "A" * 64, "a" * 63):
        with pytest.raises(ValueError, match="not a sha256 digest"):
            store.get(digest)


def test_altered_content_is_never_handed_out_or_accepted(store: EvidenceStore) -> None:
    digest = store.put(b"true")
    damage(store.path(digest), b"fals")
    with pytest.raises(EvidenceDamaged, match=digest):
        store.get(digest)
    damage(store.path(digest), b"longer than before")
    with pytest.raises(EvidenceDamaged, match=digest):
        store.put(b"true")


def test_scrub_names_every_problem(store: EvidenceStore) -> None:
    digests = [store.put(str(number).encode()) for number in range(4)]
    damage(store.path(digests[0]), b"x")
    store.path(digests[1]).chmod(0o644)
    os.unlink(store.path(digests[2]))
    stray = store.path(digests[3]).parent / "notes.txt"
    stray.write_text("x")
    problems = {(problem.reason, problem.digest or problem.path) for problem in store.scrub(digests)}
    assert problems == {
        ("altered", digests[0]),
        ("writable", digests[1]),
        ("missing", digests[2]),
        ("misplaced", f"{digests[3][:2]}/notes.txt"),
    }
