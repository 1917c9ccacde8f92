"""What the database itself refuses: tables that only grow, their triggers, and the grants of an application role.

The migrations make the triggers; this module says how they have to read, so that one that was dropped, switched off or
replaced by an empty one of the same name is seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy import Connection

from fangcuan.store.masters import MASTER_TABLES

#: Rows of these are written once. (`event_head` has guards of its own: it moves on and never back.)
APPEND_ONLY = (
    "event",
    "finding_occurrence",
    "finding_fingerprint",
    "case_finding",
    "case_finding_move",
    "case_link",
    "case_comment",
    "case_attachment",
    "partner_answer",
    "appeal",
    "label",
    "suppression_hit",
    "audit_sample",
    "audit_review",
    "command_log",
    "checkpoint",
    "checkpoint_anchor",
    "access_log",
    "outbox_attempt",
    "receipt",
    *sorted(table.name for table in MASTER_TABLES.values()),
)
#: Tables with guards of their own: what may change in them changes in one direction.
ONE_WAY = ("event_head", "person_key")
#: Loads skip what they find with ON CONFLICT DO NOTHING, which must stay possible: the guard skips instead of refusing.
_SKIPS = frozenset({"receipt", *(table.name for table in MASTER_TABLES.values())})
#: Tables whose keys the guard against INSERT OR REPLACE looks at.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "finding_occurrence": ("night", "reported_id"),
    "finding_fingerprint": ("fingerprint",),
    "case_finding": ("number", "finding_id"),
    "case_finding_move": ("number", "finding_id", "move"),
    "case_link": ("number", "other", "kind"),
    "case_comment": ("number", "comment"),
    "case_attachment": ("number", "attachment"),
    "partner_answer": ("number", "answer"),
    "appeal": ("number", "penalty", "appeal"),
    "label": ("number", "case_version", "finding_id"),
    "suppression_hit": ("night", "reported_id"),
    "audit_sample": ("sample",),
    "audit_review": ("number", "review"),
    "command_log": ("key",),
    "checkpoint": ("size",),
    "checkpoint_anchor": ("size", "place"),
    "access_log": ("entry",),
    "outbox_attempt": ("entry", "attempt"),
    "receipt": ("receipt_id",),
    **{table.name: ("row_digest",) for table in MASTER_TABLES.values()},
}
_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")

_SQLITE_CHAIN = {
    "event_link": """create trigger event_link before insert on event
        when new.seq <> coalesce((select max(seq) from event), 0) + 1
          or new.prev_hash <> coalesce((select hash from event order by seq desc limit 1), printf('%064d', 0))
          or exists (select 1 from event where hash = new.hash)
        begin select raise(abort, 'event does not continue the chain'); end""",
    "event_head_moves_on": """create trigger event_head_moves_on before update on event_head
        when new.id <> 1 or new.seq < old.seq
          or not exists (select 1 from event where seq = new.seq and hash = new.hash)
        begin select raise(abort, 'event_head only moves on to an event'); end""",
    "event_head_no_delete": """create trigger event_head_no_delete before delete on event_head
        begin select raise(abort, 'event_head stays'); end""",
    "event_head_no_insert": """create trigger event_head_no_insert before insert on event_head
        begin select raise(abort, 'event_head has one row'); end""",
}
_SQLITE_KEYS = {
    "person_key_only_destroyed": """create trigger person_key_only_destroyed before update on person_key
        when old.secret is null or new.secret is not null
          or new.person <> old.person or new.made_at <> old.made_at
        begin select raise(abort, 'a person_key is only destroyed'); end""",
    "person_key_no_delete": """create trigger person_key_no_delete before delete on person_key
        begin select raise(abort, 'person_key is append-only'); end""",
    "person_key_no_replace": """create trigger person_key_no_replace before insert on person_key
        when exists (select 1 from person_key where person = new.person)
        begin select raise(abort, 'person_key is append-only'); end""",
}
_REFUSES = "begin raise exception '% is append-only', tg_table_name; end"
_HEAD_GUARD = """begin
    if new.id <> 1 or new.seq < old.seq
       or not exists (select 1 from event where seq = new.seq and hash = new.hash) then
        raise exception 'event_head only moves on to an event';
    end if;
    return new;
end"""
_KEY_GUARD = """begin
    if old.secret is null or new.secret is not null
       or new.person <> old.person or new.made_at <> old.made_at then
        raise exception 'a person_key is only destroyed';
    end if;
    return new;
end"""
_TRIGGER = "create trigger {name} before {what} on {table} for each {each} execute function {function}() {body}"


def expected(dialect: str) -> dict[str, str]:
    """Every trigger that must be there, by name, as `_plain` writes its definition."""
    found: dict[str, str] = {}
    if dialect == "sqlite":
        for table in APPEND_ONLY:
            for what in ("update", "delete"):
                name = f"{table}_no_{what}"
                text = f"create trigger {name} before {what} on {table} begin {_raise(table, 'abort')} end"
                found[name] = _plain(text)
            if table in _KEYS:
                found[f"{table}_no_replace"] = _plain(_no_replace(table))
        return found | {name: _plain(text) for name, text in (_SQLITE_CHAIN | _SQLITE_KEYS).items()}
    refusing = {"function": "fangcuan_refuse", "body": _REFUSES}
    for table in (*APPEND_ONLY, *ONE_WAY):
        moves = table in ONE_WAY
        row = f"{table}_no_delete" if moves else f"{table}_no_change"
        what = "delete" if moves else "delete or update"
        found[row] = _TRIGGER.format(name=row, what=what, table=table, each="row", **refusing)
        name = f"{table}_no_truncate"
        found[name] = _TRIGGER.format(name=name, what="truncate", table=table, each="statement", **refusing)
    for table, name, function, body in (
        ("event_head", "event_head_moves_on", "fangcuan_head_guard", _HEAD_GUARD),
        ("person_key", "person_key_only_destroyed", "fangcuan_key_guard", _KEY_GUARD),
    ):
        found[name] = _TRIGGER.format(name=name, what="update", table=table, each="row", function=function, body=body)
    return {name: _plain(text) for name, text in found.items()}


def missing(connection: Connection) -> tuple[str, ...]:
    """Names of triggers that are absent, switched off, or no longer do what they should."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        rows = connection.exec_driver_sql("select name, sql from sqlite_master where type = 'trigger'").all()
        present = {name: _plain(sql) for name, sql in rows}
    else:
        # Enabled ALWAYS means: also in replica mode, in which others sleep.
        rows = connection.exec_driver_sql(
            "select t.tgname, pg_get_triggerdef(t.oid) || ' ' || p.prosrc from pg_trigger t"
            " join pg_proc p on p.oid = t.tgfoid join pg_class c on c.oid = t.tgrelid"
            " where t.tgenabled = 'A' and not t.tgisinternal and c.relnamespace = current_schema()::regnamespace"
        ).all()
        present = {name: _plain(text) for name, text in rows}
    return tuple(name for name, text in expected(dialect).items() if present.get(name) != text)


def grants(role: str = "fangcuan_app") -> str:
    """SQL for PostgreSQL, run by the owner of the tables: what the role of nights and people may do.

    It adds to the tables that only grow and neither alters nor removes their rows; it owns nothing, so it cannot take the
    triggers down. Run it again after each upgrade. Raises ValueError for a name that is no plain identifier.
    """
    if not _ROLE.fullmatch(role):
        raise ValueError(f"role: {role!r} is not a plain name such as fangcuan_app")
    lines = [
        "-- What the nights and the people at the casebook may do: everything but altering or removing history.",
        "-- Written by `fangcuan db roles`; run it as the owner of the tables, after each upgrade.",
        f"grant usage on schema public to {role};",
        f"grant select, insert, update on all tables in schema public to {role};",
        f"grant usage on all sequences in schema public to {role};",
        f"revoke delete, truncate, references, trigger on all tables in schema public from {role};",
        f"revoke insert, update on alembic_version from {role};",
        f"revoke insert on event_head from {role};",
    ]
    lines += [f"revoke update on {table} from {role};" for table in APPEND_ONLY]
    return "\n".join(lines) + "\n"


def _raise(table: str, how: str) -> str:
    return "select raise(ignore);" if how == "ignore" else f"select raise(abort, '{table} is append-only');"


def _no_replace(table: str) -> str:
    same = " and ".join(f"{key} = new.{key}" for key in _KEYS[table])
    how = "ignore" if table in _SKIPS else "abort"
    return (
        f"create trigger {table}_no_replace before insert on {table} "
        f"when exists (select 1 from {table} where {same}) begin {_raise(table, how)} end"
    )


def _plain(text: str) -> str:
    """One line, lower case, without schema and doubled spaces: the databases keep or rewrite line breaks differently."""
    return (
        re.sub(r"\s+", " ", text)
        .strip()
        .lower()
        .replace(" on public.", " on ")
        .replace("function public.", "function ")
    )
