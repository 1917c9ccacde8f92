"""Signed notes: the published examples verify, ours do, and nothing that was altered does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fangcuan.cases.history import keys, notes
from fangcuan.cases.history.keys import KeyRefused
from fangcuan.cases.history.notes import Checkpoint, NoteError, VerifierKey

#: The example of the reference implementation's documentation (golang.org/x/mod/sumdb/note).
EXAMPLE_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
EXAMPLE_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""


def test_the_published_example_verifies() -> None:
    key = VerifierKey.parse(EXAMPLE_KEY)
    assert str(key) == EXAMPLE_KEY
    text, signer = notes.open_note(EXAMPLE_NOTE.encode(), [key])
    assert (text.count("\n"), signer) == (2, key)
    with pytest.raises(NoteError, match="altered"):
        notes.open_note(EXAMPLE_NOTE.replace("answer", "anwser").encode(), [key])


def test_the_example_of_the_manual_verifies() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    block = manual.split("  ```\n  example.com/fangcuan\n")[1].split("  ```")[0]
    note = "example.com/fangcuan\n" + "".join(line.removeprefix("  ") for line in block.splitlines(keepends=True))
    key = VerifierKey.parse(manual.split("that of the example is\n  `")[1].split("`")[0])
    assert notes.open_checkpoint(note.encode(), [key]).size == 1234


@pytest.fixture
def key(tmp_path: Path) -> keys.SigningKey:
    keys.generate(tmp_path / "audit.key", "example.com/fangcuan")
    return keys.load(tmp_path / "audit.key")


def test_a_checkpoint_reads_as_the_format_says(key: keys.SigningKey) -> None:
    checkpoint = Checkpoint("example.com/fangcuan", 20852163, bytes(range(32)))
    note = key.sign(checkpoint.text())
    lines = note.split("\n")
    assert lines[:4] == ["example.com/fangcuan", "20852163", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", ""]
    assert lines[4].startswith("— example.com/fangcuan ")
    assert lines[5:] == [""]
    assert notes.open_checkpoint(note.encode(), [key.public]) == checkpoint


def test_openssl_verifies_the_signature(key: keys.SigningKey, tmp_path: Path) -> None:
    """The same bytes under the same key, by another implementation."""
    import base64

    text = Checkpoint("example.com/fangcuan", 7, bytes(32)).text()
    line = key.sign(text).split("\n")[-2]
    (tmp_path / "sig").write_bytes(base64.b64decode(line.rsplit(" ", 1)[1])[4:])
    (tmp_path / "text").write_text(text)
    # SubjectPublicKeyInfo of Ed25519 (RFC 8410 §4): a fixed prefix before the 32 bytes.
    (tmp_path / "pub.der").write_bytes(bytes.fromhex("302a300506032b6570032100") + key.public.public)
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "pub.der", "-rawin"]
    done = subprocess.run([*verify, "-in", "text", "-sigfile", "sig"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done


def test_every_flipped_bit_of_a_checkpoint_is_refused(key: keys.SigningKey) -> None:
    note = key.sign(Checkpoint("example.com/fangcuan", 1234, os.urandom(32)).text()).encode()
    tried = 0
    for at in range(len(note)):
        for bit in range(8):
            broken = bytearray(note)
            broken[at] ^= 1 << bit
            with pytest.raises(NoteError):
                notes.open_checkpoint(bytes(broken), [key.public])
            tried += 1
    assert tried == 8 * len(note) > 1000


def test_others_keys_and_names_are_refused(key: keys.SigningKey, tmp_path: Path) -> None:
    note = key.sign(Checkpoint("example.com/fangcuan", 5, bytes(32)).text()).encode()
    other = keys.generate(tmp_path / "other.key", "example.com/fangcuan")
    with pytest.raises(NoteError, match="no key is known"):
        notes.open_checkpoint(note, [other])
    with pytest.raises(NoteError, match="no key is known"):
        notes.open_checkpoint(note, [])
    assert notes.open_checkpoint(note, [other, key.public]).size == 5
    foreign = key.sign(Checkpoint("example.org/other", 5, bytes(32)).text()).encode()
    with pytest.raises(NoteError, match="is signed by"):
        notes.open_checkpoint(foreign, [key.public])


@given(st.binary(max_size=400))
def test_anything_else_is_a_note_error(data: bytes) -> None:
    with pytest.raises(NoteError):
        notes.open_checkpoint(data, [VerifierKey.parse(EXAMPLE_KEY)])


@pytest.mark.parametrize(
    "text",
    [
        "o\n5\n",
        "o\n05\n" + "A" * 43 + "=\n",
        "o\n-5\n" + "A" * 43 + "=\n",
        "\n5\n" + "A" * 43 + "=\n",
        "o\n5\nAAAA\n",
        "o\n5\n" + "A" * 42 + "B=\n",
        "o\n5\n" + "A" * 43 + "=\n\n",
        "o\n٥\n" + "A" * 43 + "=\n",
    ],
)
def test_what_is_signed_and_no_checkpoint(text: str) -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public = VerifierKey("o", private.public_key().public_bytes_raw())
    note = notes.sign(text, public, private.sign)
    with pytest.raises(NoteError):
        notes.open_checkpoint(note.encode(), [public])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u3000b"])
def test_names_that_cannot_be_written(name: str) -> None:
    with pytest.raises(NoteError, match="no key name"):
        VerifierKey(name, bytes(32))


@pytest.mark.parametrize("text", ["x", "a+00000000+" + EXAMPLE_KEY.split("+", 2)[2], "a+b+!", "a+b+AAAA"])
def test_what_is_no_verifier_key(text: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.parse(text)


def test_the_key_file_is_private_and_its_passphrase_needed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "audit.key"
    public = keys.generate(path, "o", "secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(public) in keys.public_path(path).read_text()
    assert keys.load(path, "secret").public == public
    for passphrase in (None, "other"):
        with pytest.raises(KeyRefused, match="passphrase"):
            keys.load(path, passphrase)
    with pytest.raises(KeyRefused, match="already"):
        keys.generate(path, "o")
    path.chmod(0o640)
    with pytest.raises(KeyRefused, match="others can read"):
        keys.load(path, "secret")
    with pytest.raises(KeyRefused, match="audit key"):
        keys.load(tmp_path / "none")


def test_a_renewed_key_leaves_the_old_one_known(tmp_path: Path) -> None:
    path = tmp_path / "audit.key"
    old = keys.generate(path, "o")
    note = keys.load(path).sign(Checkpoint("o", 5, bytes(32)).text()).encode()
    new = keys.generate(path, "o", renew=True)
    assert keys.known_keys(path) == [old, new]
    assert keys.load(path).public == new
    assert notes.open_checkpoint(note, keys.known_keys(path)).size == 5
