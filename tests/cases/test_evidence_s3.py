"""The evidence store in a bucket: the same promises as the folder, on a local S3 server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from casework_samples import file_night, make_finding
from moto.server import ThreadedMotoServer
from sqlalchemy import Engine

from fangcuan.cases.evidence.s3 import BucketEvidence, EvidenceUnreachable, Retention
from fangcuan.cases.evidence.store import EvidenceBackend, EvidenceDamaged, EvidenceMissing, EvidenceStore
from fangcuan.cases.filing.nights import file_findings
from fangcuan.core.canonical import sha256_hex
from fangcuan.flow.installation import Installation
from fangcuan.settings import Settings, SettingsError

BUCKET = "evidence"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a new bucket with object lock; the store finds the same server and keys in the environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    assert httpx.post(f"{server}/moto-api/reset", timeout=10).status_code == 200
    client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    return client


@pytest.fixture
def store(bucket: Any) -> BucketEvidence:
    return BucketEvidence(f"s3://{BUCKET}/house")


def keys(bucket: Any) -> list[str]:
    return [one["Key"] for one in bucket.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_content_comes_back_under_its_digest(store: BucketEvidence, bucket: Any) -> None:
    digest = store.put("底价".encode())
    assert digest == hashlib.sha256("底价".encode()).hexdigest()
    assert keys(bucket) == [f"house/{digest[:2]}/{digest}"]
    assert store.get(digest) == "底价".encode()
    assert digest in store
    assert sha256_hex(b"other") not in store
    assert list(store.digests()) == [digest]
    assert store.put("底价".encode()) == digest
    assert len(bucket.list_object_versions(Bucket=BUCKET)["Versions"]) == 1, "known content is not sent again"
    assert store.leftovers(9e12) == []
    with pytest.raises(EvidenceMissing):
        store.get(sha256_hex(b"other"))
    with pytest.raises(ValueError, match="not a sha256"):
        store.get("../x")


def test_a_stream_and_many_keep_their_digests(store: BucketEvidence) -> None:
    assert len(store.get(store.put(bytes([n]) * 1000 for n in range(5)))) == 5000
    contents = [str(n).encode() for n in range(30)]
    assert store.put_many([*contents, contents[0]]) == [sha256_hex(one) for one in [*contents, contents[0]]]
    assert len(list(store.digests())) == 31
    assert store.scrub() == []


def test_a_stream_that_breaks_leaves_nothing(store: BucketEvidence, bucket: Any) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield b"half"
        raise OSError("source gone")

    with pytest.raises(OSError, match="source gone"):
        store.put(broken())
    assert keys(bucket) == []


def test_what_is_there_is_never_replaced(store: BucketEvidence, bucket: Any) -> None:
    """Something else under the name of the content: told, and left as it is."""
    digest = sha256_hex(b"true")
    key = f"house/{digest[:2]}/{digest}"
    bucket.put_object(Bucket=BUCKET, Key=key, Body=b"other, longer")
    with pytest.raises(EvidenceDamaged, match="altered"):
        store.put(b"true")
    assert bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"other, longer"
    with pytest.raises(EvidenceDamaged):
        store.get(digest)


def test_scrub_names_what_is_wrong(store: BucketEvidence, bucket: Any) -> None:
    good, bad, gone = (store.put(name.encode()) for name in ("good", "bad", "gone"))
    bucket.put_object(Bucket=BUCKET, Key=f"house/{bad[:2]}/{bad}", Body=b"bat")
    bucket.delete_object(Bucket=BUCKET, Key=f"house/{gone[:2]}/{gone}")
    bucket.put_object(Bucket=BUCKET, Key="house/readme.txt", Body=b"hello")
    found = {(one.digest, one.reason) for one in store.scrub([good, bad, gone])}
    assert found == {(bad, "altered"), (gone, "missing"), ("", "misplaced")}


def test_retention_is_asked_for_kept_and_missed(bucket: Any) -> None:
    loose = BucketEvidence(f"s3://{BUCKET}/house").put(b"loose")
    store = BucketEvidence(f"s3://{BUCKET}/house", Retention("compliance", 30))
    digest = store.put(b"kept")
    key = f"house/{digest[:2]}/{digest}"
    head = bucket.head_object(Bucket=BUCKET, Key=key)
    assert head["ObjectLockMode"] == "COMPLIANCE"
    assert 29 <= (head["ObjectLockRetainUntilDate"] - head["LastModified"]).days <= 30
    with pytest.raises(ClientError, match="AccessDenied"):
        bucket.delete_object(Bucket=BUCKET, Key=key, VersionId=head["VersionId"])
    assert [(one.digest, one.reason) for one in store.scrub()] == [(loose, "writable")]


def test_a_bucket_that_is_away_is_told(store: BucketEvidence, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EvidenceUnreachable, match="no such bucket"):
        BucketEvidence("s3://nowhere/house").put(b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(EvidenceUnreachable, match="s3://evidence/house"):
        BucketEvidence(f"s3://{BUCKET}/house").put(b"x")


def test_both_stores_hold_the_same_evidence_of_a_night(
    engine: Engine, folder: Path, bucket: Any, tmp_path: Path
) -> None:
    from casework_samples import FIRST, SETTINGS, snapshot

    from fangcuan.cases.filing.grouping import GroupingPolicy

    file_night(engine, folder, [make_finding("P1"), make_finding("P2")])
    place = Installation(Settings(home=tmp_path, evidence_url=f"s3://{BUCKET}/house"))
    bucketed: EvidenceBackend = place.evidence
    file_findings(
        engine,
        bucketed,
        run_id="r",
        night=FIRST.replace(day=20),
        findings=[make_finding("P1"), make_finding("P2")],
        evidence=snapshot,
        unit_settings=SETTINGS,
        policy=GroupingPolicy(),
    )
    local = EvidenceStore(folder)
    assert len(list(local.digests())) == 2
    assert {one: bucketed.get(one) for one in bucketed.digests()} == {one: local.get(one) for one in local.digests()}


@pytest.mark.parametrize(
    "settings",
    [
        {"evidence_url": "https://example.com/x"},
        {"evidence_lock": "for ever"},
        {"evidence_lock": "compliance", "evidence_url": "s3://b"},
        {"evidence_lock": "compliance", "evidence_lock_days": 30},
        {"evidence_lock_days": 30, "evidence_url": "s3://b"},
    ],
)
def test_settings_that_promise_what_is_not_kept_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="evidence_"):
        Settings(home=tmp_path, **settings)
