"""Passwords, kept as argon2id (RFC 9106) and nowhere else: neither in an event nor in a log."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

#: Length is what slows a guesser; rules about signs and digits are not.
SHORTEST = 12
#: Longer ones cost time to hash and protect nothing.
LONGEST = 1024


def hash_password(password: str) -> str:
    """The text to store: argon2id with its parameters and a random salt. Raises ValueError for one that is too short or long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise ValueError(f"a password has {SHORTEST} to {LONGEST} characters, this one {len(password)}")
    return _hasher().hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether this is the password; an account without one takes as long to refuse as a wrong password does."""
    try:
        matches = _hasher().verify(stored or _nobodys(), password if len(password) <= LONGEST else "")
    except (VerificationError, InvalidHashError):
        return False
    return matches and stored is not None


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _nobodys() -> str:
    return _hasher().hash("nobody has this password")
