"""The event chain: append-only by trigger, linked by hash, with one head row."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def big_integer() -> sa.types.TypeEngine[Any]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


ZEROS = "0" * 64
CASE_FIELD = {"sqlite": "json_extract(body, '$.case')", "postgresql": "(body::jsonb ->> 'case'::text)"}

#: INSERT OR REPLACE walks past DELETE and UPDATE triggers on SQLite, hence the guard before INSERT.
SQLITE_GUARDS = [
    """
    create trigger event_no_update before update on event
    begin select raise(abort, 'event is append-only'); end
    """,
    """
    create trigger event_no_delete before delete on event
    begin select raise(abort, 'event is append-only'); end
    """,
    """
    create trigger event_link before insert on event
    when new.seq <> coalesce((select max(seq) from event), 0) + 1
      or new.prev_hash <> coalesce((select hash from event order by seq desc limit 1), printf('%064d', 0))
      or exists (select 1 from event where hash = new.hash)
    begin select raise(abort, 'event does not continue the chain'); end
    """,
    """
    create trigger event_head_moves_on before update on event_head
    when new.id <> 1 or new.seq < old.seq
      or not exists (select 1 from event where seq = new.seq and hash = new.hash)
    begin select raise(abort, 'event_head only moves on to an event'); end
    """,
    """
    create trigger event_head_no_delete before delete on event_head
    begin select raise(abort, 'event_head stays'); end
    """,
    """
    create trigger event_head_no_insert before insert on event_head
    begin select raise(abort, 'event_head has one row'); end
    """,
]

POSTGRESQL_GUARDS = [
    """
    create function fangcuan_refuse() returns trigger language plpgsql as
    $$ begin raise exception '% is append-only', tg_table_name; end $$
    """,
    """
    create function fangcuan_head_guard() returns trigger language plpgsql as $$
    begin
        if new.id <> 1 or new.seq < old.seq
           or not exists (select 1 from event where seq = new.seq and hash = new.hash) then
            raise exception 'event_head only moves on to an event';
        end if;
        return new;
    end $$
    """,
    """
    create trigger event_no_change before update or delete on event
    for each row execute function fangcuan_refuse()
    """,
    "create trigger event_no_truncate before truncate on event execute function fangcuan_refuse()",
    """
    create trigger event_head_moves_on before update on event_head
    for each row execute function fangcuan_head_guard()
    """,
    """
    create trigger event_head_no_delete before delete on event_head
    for each row execute function fangcuan_refuse()
    """,
    "create trigger event_head_no_truncate before truncate on event_head execute function fangcuan_refuse()",
    "alter table event enable always trigger event_no_change",
    "alter table event enable always trigger event_no_truncate",
    "alter table event_head enable always trigger event_head_moves_on",
    "alter table event_head enable always trigger event_head_no_delete",
    "alter table event_head enable always trigger event_head_no_truncate",
]

GUARDS = {"sqlite": SQLITE_GUARDS, "postgresql": POSTGRESQL_GUARDS}


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    op.create_table(
        "event",
        sa.Column("seq", big_integer(), autoincrement=False, nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event")),
        sa.UniqueConstraint("hash", name=op.f("uq_event_hash")),
        sa.UniqueConstraint("prev_hash", name=op.f("uq_event_prev_hash")),
    )
    op.create_index("ix_event_case", "event", [sa.literal_column(CASE_FIELD[dialect]), "seq"], unique=False)
    op.create_table(
        "event_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", big_integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_event_head_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_head")),
    )
    op.execute(sa.text("insert into event_head (id, seq, hash) values (1, 0, :zeros)").bindparams(zeros=ZEROS))
    for statement in GUARDS[dialect]:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("event_head")
    op.drop_index("ix_event_case", table_name="event")
    op.drop_table("event")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("drop function fangcuan_refuse()")
        op.execute("drop function fangcuan_head_guard()")
