"""The key that signs checkpoints: a file of its own, outside the database, readable by its owner only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from fangcuan.cases.history import notes
from fangcuan.cases.history.notes import NoteError, VerifierKey


class KeyRefused(Exception):
    """The key is not there, not private enough, or needs a passphrase; the message says what to do."""


@dataclass(frozen=True)
class SigningKey:
    """A private key with the name it signs under; the name is the origin of its checkpoints."""

    private: Ed25519PrivateKey
    public: VerifierKey

    def sign(self, text: str) -> str:
        """The signed note over `text`."""
        return notes.sign(text, self.public, self.private.sign)


def public_path(path: Path) -> Path:
    """Where the public halves lie: one line per key that was ever used here, the one in use last."""
    return path.with_name(path.name + ".pub")


def generate(path: Path, name: str, passphrase: str | None = None, *, renew: bool = False) -> VerifierKey:
    """Make a key at `path` with mode 600; its public half is added to `public_path`. Raises KeyRefused if one is there.

    `renew` puts a new key in the place of the old one, whose public half stays known, so that old checkpoints verify.
    """
    if path.exists() and not renew:
        raise KeyRefused(f"{path}: there is a key already")
    private = Ed25519PrivateKey.generate()
    public = VerifierKey(notes.check_name(name), private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    how: KeySerializationEncryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
        file.flush()
        os.fsync(file.fileno())
    # The public half first: a key that signs and cannot be verified would be worse than one that never signs.
    with public_path(path).open("a", encoding="utf-8") as file:
        file.write(f"{public}\n")
    os.replace(incoming, path)
    return public


def load(path: Path, passphrase: str | None = None) -> SigningKey:
    """The key at `path`, under the name of its public half. Raises KeyRefused."""
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as error:
        raise KeyRefused(f"{path}: no signing key ({error.strerror}); `fangcuan audit key` makes one") from error
    if mode & 0o077:
        raise KeyRefused(f"{path}: others can read the key (mode {mode & 0o777:o}); make it 600, or renew the key")
    try:
        private = load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except (TypeError, ValueError) as error:
        raise KeyRefused(
            f"{path}: the key cannot be read; is the secret audit_key_passphrase right? ({error})"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyRefused(f"{path}: not an Ed25519 key")
    raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    for public in reversed(known_keys(path)):
        if public.public == raw:
            return SigningKey(private, public)
    raise KeyRefused(f"{public_path(path)}: the public half of {path.name} is not in it; renew the key")


def known_keys(path: Path) -> list[VerifierKey]:
    """Public halves beside the key at `path`, oldest first; empty where there are none. Raises KeyRefused for other text."""
    try:
        lines = public_path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise KeyRefused(f"{public_path(path)}: cannot be read: {error}") from error
    try:
        return [VerifierKey.parse(line) for line in lines if line.strip()]
    except NoteError as error:
        raise KeyRefused(f"{public_path(path)}: {error}") from error
