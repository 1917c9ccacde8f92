"""Tables of accounts: who may work here, in which roles and where, and with which tokens; and the log of refusals.

An account is `user` in the commands; that word is reserved in SQL.
"""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, String, Table, Text

from fangcuan.store.base import Base, BigInt, CanonicalJson, UtcDateTime

METADATA = Base.metadata
DIGEST = 64

#: `person` is the first account of whoever is behind this one: several accounts of one person, and the services he answers
#: for, share it. `password_hash` is argon2id in its usual text form. `name` and `os_user` are sealed (`cases.people.personal`).
account = Table(
    "account",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("person", Text, ForeignKey("account.user_id"), nullable=False, index=True),
    Column("os_user", Text, unique=True),
    Column("password_hash", Text),
    Column("active", Boolean(create_constraint=False), nullable=False),
    Column("added_by", Text, nullable=False),
    Column("added_at", UtcDateTime, nullable=False),
    CheckConstraint("kind in ('person', 'service')", name="kind"),
    CheckConstraint("kind = 'person' or password_hash is null", name="services_have_tokens"),
)

#: The key (AES-256, 64 hex digits) under which what says who somebody is stands sealed, here and in the events. It is destroyed
#: on purpose and once: the row stays without it, and nothing can be put back.
person_key = Table(
    "person_key",
    METADATA,
    Column("person", Text, ForeignKey("account.user_id"), primary_key=True),
    Column("secret", String(DIGEST)),
    Column("made_at", UtcDateTime, nullable=False),
    Column("destroyed_by", Text),
    Column("destroyed_at", UtcDateTime),
    CheckConstraint(
        "(secret is null) = (destroyed_at is not null) and (secret is null) = (destroyed_by is not null)",
        name="there_or_destroyed",
    ),
)

#: A role within a region and all below it, for one brand, or for one partner; NULL stands for all. Times are half-open.
role_grant = Table(
    "role_grant",
    METADATA,
    Column("grant_id", BigInt, primary_key=True, autoincrement=False),
    Column("user_id", Text, ForeignKey("account.user_id"), nullable=False, index=True),
    Column("role", Text, nullable=False),
    Column("region_code", Text),
    Column("brand", Text),
    Column("partner_id", Text),
    Column("valid_from", UtcDateTime, nullable=False),
    Column("valid_to", UtcDateTime),
    Column("granted_by", Text, nullable=False),
    Column("granted_at", UtcDateTime, nullable=False),
    Column("revoked_by", Text),
    Column("revoked_at", UtcDateTime),
    CheckConstraint("granted_by <> 'user:' || user_id", name="not_to_oneself"),
    CheckConstraint("valid_to is null or valid_to > valid_from", name="some_time"),
    CheckConstraint("(revoked_by is null) = (revoked_at is null)", name="revocation_complete"),
)

#: `token_hash` is the sha256 of a secret of 256 random bits, which is shown once and kept nowhere. `roles` narrows what the
#: account may do; NULL: all its roles. `terminal` is the account at whose terminal it was issued under another's name.
#: `label` is sealed.
access_token = Table(
    "access_token",
    METADATA,
    Column("token_id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("account.user_id"), nullable=False, index=True),
    Column("token_hash", String(DIGEST), nullable=False, unique=True),
    Column("label", Text, nullable=False),
    Column("roles", CanonicalJson),
    Column("terminal", Text),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("issued_by", Text, nullable=False),
    Column("issued_at", UtcDateTime, nullable=False),
    Column("revoked_by", Text),
    Column("revoked_at", UtcDateTime),
    CheckConstraint("(revoked_by is null) = (revoked_at is null)", name="revocation_complete"),
)

#: What was refused to whom. It changes no case and so is no event; its rows are written once as well.
access_log = Table(
    "access_log",
    METADATA,
    Column("entry", BigInt, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("target", Text),
    Column("refusal", Text, nullable=False),
    Column("message", Text, nullable=False),
)
