"""What says who somebody is, sealed under a key of that person, so that a history which stays can still forget him.

Events and tables hold the same sealed text; nobody reads it without the row of `person_key`. A sealed value is
`sealed:1:<person>:<base64url(nonce ‖ ciphertext ‖ tag)>`: AES-256-GCM (NIST SP 800-38D) with a nonce of 96 random bits, bound to
person and field, over the UTF-8 text padded with zero bytes to a multiple of 64, so that its length says little. Text without
that form was written before there were keys, and is shown as it stands.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Row, select

from fangcuan.cases.refusals import GuardFailed
from fangcuan.core.canonical import sha256_hex
from fangcuan.store.accounts import account, person_key

KEY_BYTES, NONCE_BYTES, BLOCK = 32, 12, 64
#: Shown where a value was altered, or its key is gone without having been destroyed; `audit verify` names the row.
UNREADABLE = "unreadable"
_SEALED = re.compile(r"sealed:1:([a-z0-9][a-z0-9._-]{0,63}):([A-Za-z0-9_-]{100,})")
#: Parts of a name that are too short to give anybody away.
_TELLING = 3


@dataclass(frozen=True)
class PersonKey:
    """The key of one person. `new`: not stored yet, which `keep` does once the account is there."""

    person: str
    secret: bytes
    new: bool

    def seal(self, field: str, text: str | None) -> str | None:
        """The sealed form of a text; None stays None. Raises GuardFailed for a zero byte in it."""
        if text is None:
            return None
        data = text.encode()
        if b"\0" in data:
            raise GuardFailed(f"{field}: a zero byte is no part of a text")
        nonce = secrets.token_bytes(NONCE_BYTES)
        padded = data.ljust(-(-len(data) // BLOCK) * BLOCK or BLOCK, b"\0")
        sealed = nonce + AESGCM(self.secret).encrypt(nonce, padded, _bound(self.person, field))
        return f"sealed:1:{self.person}:{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def keep(self, connection: Connection, moment: dt.datetime) -> dict[str, Any]:
        """Store a new key; what the event says of it: its sha256, which of 256 random bits tells nothing. Else nothing."""
        if not self.new:
            return {}
        text = self.secret.hex()
        connection.execute(person_key.insert().values(person=self.person, secret=text, made_at=moment))
        return {"person_key": {"person": self.person, "secret": sha256_hex(text.encode())}}


def key_of(connection: Connection, person: str) -> PersonKey:
    """The key of a person, a new one where he has none yet. Raises GuardFailed where it was destroyed."""
    row = connection.execute(select(person_key).where(person_key.c.person == person)).one_or_none()
    if row is None:
        return throwaway(person)
    if row.secret is None:
        raise GuardFailed(f"{person}: this person was erased, and nothing more is kept about him")
    return PersonKey(person, bytes.fromhex(row.secret), new=False)


def throwaway(person: str) -> PersonKey:
    """A key that nothing holds: what is sealed under it, and not kept, is never read again."""
    return PersonKey(person, secrets.token_bytes(KEY_BYTES), new=True)


class Opened:
    """Reads sealed values with the keys that are there in this transaction."""

    def __init__(self, connection: Connection) -> None:
        rows = connection.execute(select(person_key.c.person, person_key.c.secret))
        self._keys: Mapping[str, str | None] = {row.person: row.secret for row in rows}

    def text(self, field: str, value: str | None) -> str | None:
        """What was sealed; clear text as it stands; None where the person was erased."""
        found = sealed_parts(value)
        if found is None:
            return value
        person, data = found
        if person not in self._keys:
            return UNREADABLE
        secret = self._keys[person]
        if secret is None:
            return None
        try:
            cipher = AESGCM(bytes.fromhex(secret))
            padded = cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], _bound(person, field))
            return padded.rstrip(b"\0").decode()
        except (InvalidTag, ValueError):
            return UNREADABLE

    def shown(self, field: str, value: str) -> str:
        """The same for showing: a placeholder where the person was erased."""
        found = sealed_parts(value)
        text = self.text(field, value)
        return text if text is not None else placeholder(found[0] if found else "")

    def names(self, value: Any) -> list[str]:
        """The channels of a choice: a list, sealed as its JSON unless it is empty; none where the person was erased."""
        if not isinstance(value, str):
            return list(value)
        text = self.text("channels", value)
        try:
            names = json.loads(text or "[]")
        except ValueError:
            return []
        return [str(name) for name in names] if isinstance(names, list) else []

    def of_os_user(self, connection: Connection, os_user: str) -> Row[Any] | None:
        """The account of a user of the operating system; open ones first."""
        query = (
            select(account).where(account.c.os_user.is_not(None)).order_by(account.c.active.desc(), account.c.user_id)
        )
        for row in connection.execute(query):
            if self.text("os_user", row.os_user) == os_user:
                return row
        return None


def seal_names(key: PersonKey, names: Sequence[str]) -> str | list[str]:
    """Names of channels as a choice holds them."""
    return key.seal("channels", json.dumps(list(names))) or [] if names else []


def is_sealed(value: object) -> bool:
    return sealed_parts(value) is not None


def sealed_parts(value: object) -> tuple[str, bytes] | None:
    """Person and bytes of a sealed value; None for anything else."""
    found = _SEALED.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    text = found[2]
    try:
        return found[1], base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None


def placeholder(person: str) -> str:
    """What stands where a name was: the same for all accounts of an erased person."""
    return f"erased person {hashlib.sha256(person.encode()).hexdigest()[:8]}"


def gives_away(user_id: str, name: str) -> bool:
    """Whether a user's id, which stays for good, holds a part of his name."""
    parts = re.findall(r"\w+", name.casefold())
    return any(len(part) >= _TELLING and part in user_id.casefold() for part in parts)


def _bound(person: str, field: str) -> bytes:
    return f"{person}\n{field}".encode()
