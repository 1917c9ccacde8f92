"""A key per person, under which names stand sealed, and which is destroyed on purpose and once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "person_key",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("secret", sa.String(64), nullable=True),
        sa.Column("made_at", utc_datetime(), nullable=False),
        sa.Column("destroyed_by", sa.Text(), nullable=True),
        sa.Column("destroyed_at", utc_datetime(), nullable=True),
        sa.CheckConstraint(
            "(secret is null) = (destroyed_at is not null) and (secret is null) = (destroyed_by is not null)",
            name=op.f("ck_person_key_there_or_destroyed"),
        ),
        sa.ForeignKeyConstraint(["person"], ["account.user_id"], name=op.f("fk_person_key_person_account")),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_person_key")),
    )
    for statement in _guards():
        op.execute(statement)


def downgrade() -> None:
    # The triggers go with their table.
    op.drop_table("person_key")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("drop function fangcuan_key_guard()")


def _guards() -> list[str]:
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        names = ("person_key_only_destroyed", "person_key_no_delete", "person_key_no_truncate")
        return [
            """create function fangcuan_key_guard() returns trigger language plpgsql as $$
begin
    if old.secret is null or new.secret is not null
       or new.person <> old.person or new.made_at <> old.made_at then
        raise exception 'a person_key is only destroyed';
    end if;
    return new;
end
$$""",
            "create trigger person_key_only_destroyed before update on person_key for each row"
            " execute function fangcuan_key_guard()",
            f"create trigger person_key_no_delete before delete on person_key for each row {refuse}",
            f"create trigger person_key_no_truncate before truncate on person_key {refuse}",
            *(f"alter table person_key enable always trigger {name}" for name in names),
        ]
    abort = "select raise(abort, 'person_key is append-only');"
    return [
        "create trigger person_key_only_destroyed before update on person_key"
        " when old.secret is null or new.secret is not null"
        " or new.person <> old.person or new.made_at <> old.made_at"
        " begin select raise(abort, 'a person_key is only destroyed'); end",
        f"create trigger person_key_no_delete before delete on person_key begin {abort} end",
        "create trigger person_key_no_replace before insert on person_key"
        f" when exists (select 1 from person_key where person = new.person) begin {abort} end",
    ]
