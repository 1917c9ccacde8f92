"""The fast encoder gives the very bytes of RFC 8785, whatever it is given."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fangcuan.core.canonical import canonical_json
from fangcuan.store.jsontext import canonical_text

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True, allow_infinity=False)
    | st.floats(min_value=0, max_value=1)
    | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False, places=4)
    | st.datetimes(timezones=st.just(dt.UTC))
    | st.dates()
)
keys = st.text() | st.text(alphabet="abcz_", max_size=3) | st.integers()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(keys, inner), max_leaves=12
)


@given(values)
def test_same_bytes_as_rfc_8785(value: object) -> None:
    assert canonical_text(value) == canonical_json(value)


@pytest.mark.parametrize(
    "value",
    [1e-7, 3.2e-05, 1e21, 1e15 + 0.5, -0.0, 2**53, 2**53 - 1, 1.0, 0.1, '\u0000\u001f\u007f\u2028"\\/', "𐐷"],
)
def test_numbers_and_characters_on_the_edge(value: object) -> None:
    assert canonical_text({"v": value}) == canonical_json({"v": value})


def test_keys_sort_by_utf_16_units() -> None:
    value = {"\ue000": 1, "\U00010000": 2, "a": 3}
    assert canonical_text(value) == canonical_json(value)
    assert list(canonical_text(value).decode())[2] == "a"


def test_what_has_no_canonical_form_is_refused() -> None:
    for value in (float("inf"), Decimal("nan"), object(), "\ud800"):
        with pytest.raises(Exception):  # noqa: B017 - both refuse, each in its own words
            canonical_text({"v": value})
