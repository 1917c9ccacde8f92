"""Timestamps by RFC 3161: asking an authority, and checking what it answered.

The whole answer is kept as it came. `rfc3161-client` checks it; where that cannot read it (it refuses tokens whose
certificates are not sorted, which some authorities send), `openssl ts -verify` does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

TIMEOUT_SECONDS = 30.0
#: An answer holds a few certificates; anything longer is something else.
MOST_BYTES = 1 << 20
_OPENSSL_SECONDS = 30


class TimestampRefused(Exception):
    """There is no valid timestamp over these bytes; the message says why."""


@dataclass(frozen=True)
class Stamp:
    """What a checked answer says. `trusted` is False where no root certificates were given: then only the digest was."""

    time: str
    trusted: bool
    by: str


def ask(url: str, data: bytes, roots: Path | None = None) -> bytes:
    """The answer (TimeStampResp, DER) of the authority at `url` over sha256 of `data`. Raises TimestampRefused."""
    request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).nonce(nonce=True)
    query = request.cert_request(cert_request=True).build()
    headers = {"content-type": "application/timestamp-query", "accept": "application/timestamp-reply"}
    try:
        answer = httpx.post(url, content=query.as_bytes(), headers=headers, timeout=TIMEOUT_SECONDS)
    except httpx.HTTPError as error:
        raise TimestampRefused(f"{url} cannot be asked: {type(error).__name__}: {error}") from error
    if answer.status_code != 200:
        raise TimestampRefused(f"{url} answered {answer.status_code}")
    if len(answer.content) > MOST_BYTES:
        raise TimestampRefused(f"{url} answered {len(answer.content)} bytes, more than a timestamp has")
    check(answer.content, data, roots, nonce=query.nonce)
    return answer.content


def check(answer: bytes, data: bytes, roots: Path | None, *, nonce: int | None = None) -> Stamp:
    """Is `answer` a timestamp over `data`, signed by an authority below `roots` (PEM)? Raises TimestampRefused.

    Without roots the digest is compared and the signature is not.
    """
    try:
        response = decode_timestamp_response(answer)
        info = response.tst_info
    except ValueError as error:
        return _by_openssl(answer, data, roots, why=str(error))
    if response.status not in (0, 1):
        raise TimestampRefused(f"the authority refused: status {response.status}, {response.status_string}")
    if info.message_imprint.message != _imprint(info.message_imprint.hash_algorithm.dotted_string, data):
        raise TimestampRefused("the timestamp is over other bytes")
    if nonce is not None and info.nonce != nonce:
        raise TimestampRefused("the timestamp answers another request")
    time = info.gen_time.isoformat()
    if roots is None:
        return Stamp(time, trusted=False, by="digest")
    return _verified(response, answer, data, roots, time)


def _verified(response: TimeStampResponse, answer: bytes, data: bytes, roots: Path, time: str) -> Stamp:
    builder = VerifierBuilder()
    for root in x509.load_pem_x509_certificates(roots.read_bytes()):
        builder = builder.add_root_certificate(root)
    # The authority's own certificate comes with the answer; which one it is stands in the signer's entry.
    try:
        builder.build().verify_message(response, data)
    except (VerificationError, ValueError) as error:
        return _by_openssl(answer, data, roots, why=str(error))
    return Stamp(time, trusted=True, by="rfc3161-client")


def _by_openssl(answer: bytes, data: bytes, roots: Path | None, *, why: str) -> Stamp:
    program = shutil.which("openssl")
    if program is None:
        raise TimestampRefused(f"{why}; there is no openssl program to look a second time")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answer.tsr"
        path.write_bytes(answer)
        content = Path(folder) / "data"
        content.write_bytes(data)
        shown = _run([program, "ts", "-reply", "-in", str(path), "-text"])
        if shown.returncode != 0:
            raise TimestampRefused(f"not a timestamp: {why}")
        text = shown.stdout.decode("utf-8", "replace")
        found = re.search(r"Time stamp: (.+)", text)
        time = _iso(found.group(1).strip()) if found else "unknown"
        if roots is None:
            digits = "".join(re.findall(r"^\s+[0-9a-f]{4} - ((?:[0-9a-f]{2}[ -])+)", text, re.M))
            if re.sub(r"[^0-9a-f]", "", digits) != hashlib.sha256(data).hexdigest():
                raise TimestampRefused("the timestamp is over other bytes")
            return Stamp(time, trusted=False, by="digest")
        verify = [program, "ts", "-verify", "-data", str(content), "-in", str(path), "-CAfile", str(roots)]
        done = _run(verify)
        if done.returncode != 0:
            raise TimestampRefused(f"{why}; openssl: {_reason(done.stderr)}")
    return Stamp(time, trusted=True, by="openssl")


def _iso(text: str) -> str:
    """openssl's `Mar 14 02:05:00 2026 GMT` as ISO 8601; other spellings stay."""
    try:
        return dt.datetime.strptime(text, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=dt.UTC).isoformat()
    except ValueError:
        return text


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, capture_output=True, timeout=_OPENSSL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise TimestampRefused("openssl did not answer") from error


def _reason(said: bytes) -> str:
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if ":error:" in line or "rror" in line]
    return lines[-1].strip() if lines else "verification failed"


def _imprint(algorithm: str, data: bytes) -> bytes:
    names = {"2.16.840.1.101.3.4.2.1": "sha256", "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512"}
    if algorithm not in names:
        raise TimestampRefused(f"the timestamp uses the digest {algorithm}; expected SHA-2")
    return hashlib.new(names[algorithm], data).digest()
