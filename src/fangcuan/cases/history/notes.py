"""Signed notes and checkpoints in the formats of C2SP: https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint.

A note is text ending in a line break, an empty line, and signature lines `— <key name> <base64(key id ‖ signature)>`. The
key id is the first 4 bytes of sha256(name ‖ 0x0A ‖ 0x01 ‖ public key); 0x01 stands for Ed25519.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519 = b"\x01"
_DASH = "— "
_SIZE = re.compile(r"0|[1-9][0-9]{0,17}")


class NoteError(Exception):
    """The text is no note, or none that a known key signed; the message says what is wrong."""


class UnknownKey(NoteError):
    """The note may be right: none of the keys that signed it is known here."""


@dataclass(frozen=True)
class VerifierKey:
    """The public half of a key: `name` and 32 bytes. As text `<name>+<key id in hex>+<base64(0x01 ‖ public key)>`."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.public) != 32:
            raise NoteError(f"an Ed25519 public key has 32 bytes, not {len(self.public)}")

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """A key from its text. Raises NoteError, also where the key id is not that of the key."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise NoteError(f"{text.strip()!r} is no verifier key; expected <name>+<8 hex digits>+<base64>")
        data = _decode(parts[2])
        if data[:1] != ED25519:
            raise NoteError(f"the key of {parts[0]} is not of a known kind; expected Ed25519")
        key = cls(parts[0], data[1:])
        if key.key_id.hex() != parts[1]:
            raise NoteError(f"the key of {parts[0]} says it is {parts[1]} and is {key.key_id.hex()}")
        return key

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def verifies(self, text: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"


@dataclass(frozen=True)
class Checkpoint:
    """A signed tree head: `root` (32 bytes) of the first `size` events of the chain that `origin` names."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Origin, size and root, a line each; what is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def check_name(name: str) -> str:
    """`name` as a key name and origin. Raises NoteError for an empty one or one with spaces, `+` or control characters."""
    if not name or "+" in name or any(c.isspace() or ord(c) < 32 for c in name):
        raise NoteError(
            f"{name!r} is no key name: expected text without spaces and plus signs, such as example.com/fangcuan"
        )
    return name


def sign(text: str, key: VerifierKey, signer: Callable[[bytes], bytes]) -> str:
    """The note over `text`; `signer` gives the 64 bytes of the Ed25519 signature."""
    signature = base64.b64encode(key.key_id + signer(text.encode())).decode()
    return f"{text}\n{_DASH}{key.name} {signature}\n"


def open_note(note: bytes, keys: Iterable[VerifierKey]) -> tuple[str, VerifierKey]:
    """The text of a note and the known key that signed it. Signatures by unknown keys are ignored, as the format asks.

    Raises NoteError for what is no note, for a wrong signature by a known key, and where no known key signed.
    """
    text, lines = _split(note)
    known = {(key.name, key.key_id): key for key in keys}
    signers = []
    found: VerifierKey | None = None
    for line in lines:
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        data = _decode(encoded)
        if not line.startswith(_DASH) or len(data) < 5:
            raise NoteError("a signature line is damaged")
        check_name(name)
        signers.append(f"{name}+{data[:4].hex()}")
        key = known.get((name, data[:4]))
        if key is None:
            continue
        if not key.verifies(text.encode(), data[4:]):
            raise NoteError(f"the signature by {name} is wrong: the note was altered")
        found = found or key
    if found is None:
        raise UnknownKey(f"signed by {', '.join(signers)}, of which no key is known here")
    return text, found


def parse_checkpoint(text: str) -> Checkpoint:
    """A checkpoint from the text of a note; extension lines are allowed and not read. Raises NoteError."""
    lines = text.split("\n")
    if len(lines) < 4 or not lines[0] or not _SIZE.fullmatch(lines[1]) or "" in lines[:-1]:
        raise NoteError("the note is no checkpoint: expected origin, number of events and root, a line each")
    root = _decode(lines[2])
    if len(root) != 32:
        raise NoteError(f"the root of the checkpoint has {len(root)} bytes, not 32")
    return Checkpoint(lines[0], int(lines[1]), root)


def open_checkpoint(note: bytes, keys: Iterable[VerifierKey]) -> Checkpoint:
    """The checkpoint in a note signed by a known key whose name is the origin. Raises NoteError."""
    text, key = open_note(note, keys)
    checkpoint = parse_checkpoint(text)
    if key.name != checkpoint.origin:
        raise NoteError(f"the checkpoint of {checkpoint.origin} is signed by {key.name}")
    return checkpoint


def _split(note: bytes) -> tuple[str, list[str]]:
    try:
        whole = note.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteError("the note is not UTF-8 text") from error
    if any(ord(c) < 32 and c != "\n" for c in whole):
        raise NoteError("the note holds control characters")
    at = whole.rfind("\n\n")
    if at < 0 or not whole.endswith("\n") or not whole[at + 2 :].strip("\n"):
        raise NoteError("the text is no signed note: expected text, an empty line and signature lines")
    return whole[: at + 1], whole[at + 2 : -1].split("\n")


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError(f"{text[:80]!r} is not base64") from error
    if base64.b64encode(data).decode() != text:
        # Stray bits at the end would let one signature be written in several ways.
        raise NoteError(f"{text[:80]!r} is not base64 in its one form")
    return data
