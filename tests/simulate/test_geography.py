"""The small table of real regions is consistent with itself."""

from __future__ import annotations

import numpy as np

from fangcuan.simulate import geography
from fangcuan.simulate.catalogue import PRODUCTS, serial_numbers


def test_regions_have_parents_and_sensible_places() -> None:
    geo = geography.load()
    assert len(geo) > 70
    provinces = {row["region_code"] for row in geo.provinces}
    assert set(geo.province) == provinces
    assert ((geo.latitude > 20) & (geo.latitude < 42)).all()
    assert ((geo.longitude > 100) & (geo.longitude < 123)).all()


def test_neighbours_are_mutual_and_near() -> None:
    geo = geography.load()
    assert (geo.adjacent == geo.adjacent.T).all()
    assert not geo.adjacent.diagonal().any()
    assert geo.distance[geo.adjacent].max() < 250


def test_a_seat_lies_in_its_own_region() -> None:
    geo = geography.load()
    assert (geo.region_of(geo.latitude, geo.longitude) == np.arange(len(geo))).all()


def test_gravity_sends_people_elsewhere_with_certainty() -> None:
    gravity = geography.load(5).gravity()
    assert np.allclose(gravity.sum(axis=1), 1)
    assert (gravity.diagonal() == 0).all()


def test_serials_are_unique_whether_in_order_or_scattered() -> None:
    for product in PRODUCTS:
        serials = serial_numbers(product, np.arange(200_000))
        assert len(np.unique(serials)) == 200_000


def test_gtins_have_fourteen_digits_and_a_right_check_digit() -> None:
    for product in PRODUCTS:
        digits = [int(digit) for digit in product.gtin]
        assert len(digits) == 14
        assert sum(digit * (3 if at % 2 == 0 else 1) for at, digit in enumerate(digits)) % 10 == 0
