from __future__ import annotations

import pytest

from fangcuan.ingest.expressions import ExpressionError, check


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("price", ("price",)),
        ("'online'", ()),
        ("j->>'$.shop.name'", ("j",)),
        ("coalesce(a, b) || '-' || c", ("a", "b", "c")),
        ("try_strptime(a, '%Y/%m/%d %H:%M')", ("a",)),
        ("list_transform([a], x -> x || '1')[1]", ("a",)),
        ("case when kind = '1' then amount end", ("kind", "amount")),
        ("try_cast(a as decimal(18,4)) / 100", ("a",)),
        ('"价格 元"', ("价格 元",)),
        ("a -- a comment", ("a",)),
        ("a in ('x', 'y') and b is not null", ("a", "b")),
        ("lpad(a, 6, '0') || repeat('x', 3) || printf('%06d', 7)", ("a",)),
        ("split_part(a, '-', 1)", ("a",)),
    ],
)
def test_scalar_expressions_say_which_columns_they_read(text: str, reads: tuple[str, ...]):
    assert sorted(check(text)) == sorted(reads)


@pytest.mark.parametrize(
    "text",
    [
        "(select 1)",
        "(select content from read_text('x'))",
        "exists (select 1)",
        "a in (select b from t)",
        "a from t",
        "a, b",
        "a as b",
        "*",
        "columns('.*')",
        "a; drop table t",
        "a union all select 1",
        "a limit 1",
        "distinct a",
        "read_text('x')",
        "read_csv('x')",
        "glob('*')",
        "getenv('HOME')",
        "current_setting('threads')",
        "query('select 1')",
        "sum(a)",
        "row_number() over ()",
        "lag(a) over (order by b)",
        "unnest([1, 2])",
        "generate_series(1, 1000000000)",
        "now()",
        "current_timestamp",
        "current_date",
        "localtime",
        "random()",
        "uuid()",
        "gen_random_uuid()",
        "nextval('s')",
        "current_user",
        "session_user",
        "$1",
        "?",
        "no_such_function(a)",
        "at || 'x'",
        "a) from (select 1 as a",
        "repeat('x', 1000000000)",
        "repeat(a, b::bigint)",
        "repeat('x', 1000 * 1000000)",
        "lpad(a, 2000000000, 'y')",
        "rpad(a, length(a) * 1000000, 'y')",
        "printf('%2000000000d', 1)",
        "format(a, 1)",
        "format('{:{}}', 1, 2000000000)",
        "list_resize([a], 2000000000, 'x')",
        "copy t to 'x'",
        "attach 'x'",
        "pragma version",
        "summarize a",
        "",
        "   ",
        "a = ",
        "'" + "x" * 5000 + "'",
        "(" * 3000 + "a" + ")" * 3000,
    ],
)
def test_whatever_reaches_beyond_the_row_is_refused(text: str):
    with pytest.raises(ExpressionError):
        check(text)
