"""Worlds at the level of counts: repeatable, what was planted is in them, and nobody sees what had not arrived."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from fangcuan.quality.arrived import Arrived, Sightings
from fangcuan.quality.network import SHELF
from fangcuan.quality.spec import FAMILIES, NULLS, SCHEMES, WorldSpec, family
from fangcuan.quality.worlds import HOLIDAYS, World

Worlds = Callable[..., World]


def columns(sightings: Sightings) -> dict[str, np.ndarray]:
    return {field.name: getattr(sightings, field.name) for field in dataclasses.fields(sightings)}


def same(one: World, other: World) -> bool:
    last = one.spec.weeks - 1
    tables = [(one.arrived(last).own, other.arrived(last).own), (one.orders, other.orders)]
    tables += list(zip(columns(one.foreign).values(), columns(other.foreign).values(), strict=True))
    return all(np.array_equal(left, right) for left, right in tables) and one.schemes.equals(other.schemes)


def per_place(sightings: Sightings) -> Counter[tuple[int, int]]:
    return Counter(zip(sightings.account.tolist(), sightings.destination.tolist(), strict=True))


def without_schemes(world: World) -> World:
    return World(dataclasses.replace(world.spec, diverting=0.0, kinds=()))


def test_a_seed_repeats_and_another_differs() -> None:
    spec = family("mixed", dealers=60)
    assert same(World(spec), World(spec))
    assert not same(World(spec), World(dataclasses.replace(spec, seed=2)))


def test_a_family_has_a_stream_of_its_own() -> None:
    assert not same(World(family("plain", dealers=60)), World(WorldSpec(family="other", dealers=60)))


@pytest.mark.parametrize("kind", SCHEMES)
def test_a_planted_scheme_is_in_the_counts_and_changes_no_others(worlds: Worlds, kind: str) -> None:
    world = worlds(kind, coverage=0.05)
    schemes = world.schemes
    assert len(schemes) == 15
    assert set(schemes["kind"]) == {kind}
    assert (schemes["scanned_units"] > 0).mean() > 0.9
    more = per_place(world.foreign)
    more.subtract(per_place(without_schemes(world).foreign))
    places = list(zip(schemes["account"], schemes["destination"], strict=True))
    assert {place: number for place, number in more.items() if number} == {
        place: number for place, number in zip(places, schemes["scanned_units"], strict=True) if number
    }
    alive = schemes["units"] * (1.0 - schemes["stealth"])
    expected = (alive * 0.05 * world.net.scanning[schemes["destination"]]).sum()
    assert schemes["scanned_units"].sum() == pytest.approx(expected, rel=0.2), "no unit is invented"


def test_cartons_of_which_two_units_were_seen_tell_schemes_from_leakage(worlds: Worlds) -> None:
    world = worlds("whole_carton", coverage=0.05)
    seen = Counter(
        zip(world.foreign.account.tolist(), world.foreign.destination.tolist(), world.foreign.carton, strict=True)
    )
    shared = Counter(place[:2] for place, units in seen.items() if units >= 2)
    schemes = world.schemes
    counted = [shared[place] for place in zip(schemes["account"], schemes["destination"], strict=True)]
    assert sum(counted) >= schemes["sibling_cartons"].sum() > 50
    innocent = [number for place, number in per_place(without_schemes(world).foreign).items() if shared[place]]
    assert np.median(counted) >= 5
    assert np.mean([shared[place] for place in per_place(without_schemes(world).foreign)]) < 0.2
    assert innocent, "some travel together innocently"
    split = worlds("splitting", coverage=0.05).schemes
    assert split["sibling_cartons"].sum() / split["units"].sum() < 0.5 * sum(counted) / schemes["units"].sum()


def test_kinds_keep_to_their_time_and_diverters_order_more(worlds: Worlds) -> None:
    dump = worlds("quarter_end_dump").schemes
    assert set(dump["first_week"] % 13) == {11}
    assert (worlds("slow_drip").schemes["last_week"] - worlds("slow_drip").schemes["first_week"]).median() >= 12
    world = worlds("quarter_end_dump")
    extra = world.orders - without_schemes(world).orders
    assert set(np.flatnonzero(extra.sum(axis=1))) == set(dump["account"])
    assert extra.sum() == pytest.approx(0.7 * dump["cartons"].sum(), rel=0.1)


@pytest.mark.parametrize("name", sorted(NULLS))
def test_a_null_holds_no_scheme_and_what_its_name_says(worlds: Worlds, name: str) -> None:
    world = worlds(name)
    assert not len(world.schemes)
    weekly = np.bincount(world.foreign.week, minlength=world.spec.weeks)[26:]
    per_account = np.bincount(world.foreign.account, minlength=world.net.accounts)
    kinds = Counter(world.innocents["kind"])
    if name == "holiday":
        assert weekly[[(week - 26) % 52 for week in HOLIDAYS]].mean() > 2.5 * np.median(weekly)
    elif name == "hubs":
        assert np.percentile(per_account / world.net.volume, 98) > 3 * np.median(per_account / world.net.volume)
    elif name == "migrant_corridor":
        pairs = Counter(zip(world.net.home[world.foreign.account], world.foreign.destination, strict=True))
        assert np.sort(world.net.pull.sum(axis=1))[-12:].min() > 2.0
        assert max(pairs.values()) > 100
    elif name == "territory_redraw":
        assert kinds["territory_redraw"] >= 2
        assert per_account.max() > 20 * np.median(per_account)
    elif name == "scan_campaign":
        assert world.arrived(world.spec.weeks - 1).own.sum(axis=0)[26:].max() > 1.3 * np.median(weekly) * 25
    elif name == "misshipments":
        assert kinds["misshipment"] >= 10
    elif name == "online_bulk":
        assert kinds["online_bulk"] > 5_000
    elif name == "drift":
        assert weekly[-8:].mean() > 1.3 * weekly[:8].mean()
    elif name == "bus_tours":
        at = world.foreign.account * world.spec.weeks + world.foreign.week
        assert np.bincount(at).max() >= 8
    else:
        assert weekly.max() < 2 * np.median(weekly)
        assert not kinds


def test_coverage_scales_what_is_seen(worlds: Worlds) -> None:
    low, high = worlds("plain", coverage=0.01), worlds("plain", coverage=0.05)
    assert len(high.foreign) == pytest.approx(5 * len(low.foreign), rel=0.1)
    share = len(high.foreign) / (len(high.foreign) + high.arrived(high.spec.weeks - 1).own.sum())
    assert 0.02 < share < 0.05, "the leakage of the spec"


def test_a_week_sees_what_had_arrived_and_no_truth(worlds: Worlds) -> None:
    world = worlds("mixed")
    early, late = world.arrived(40), world.arrived(41)
    assert early.foreign.arrival.max() == 40
    assert (early.foreign.week <= early.foreign.arrival).all()
    assert early.own.shape == (world.net.accounts, 41)
    for name, values in columns(early.foreign).items():
        assert np.array_equal(values, columns(late.foreign)[name][: len(early.foreign)]), name
    grown = late.own[:, :41] - early.own
    assert (grown >= 0).all()
    assert grown[:, 39:].sum() > 0, "late scans of earlier weeks arrive"
    assert not grown[:, :38].any()
    assert early.orders.shape[1] == 41
    assert early.targets.shape[1] == 4
    assert {field.name for field in dataclasses.fields(Arrived)} == {
        *("week", "dealer", "line", "home", "own", "foreign", "orders", "targets"),
        *("holidays", "places", "population", "margin"),
    }
    with pytest.raises(ValueError, match="weeks 0 to 77"):
        world.arrived(78)


def test_numbers_of_cartons_and_devices_say_nothing_about_their_origin(worlds: Worlds) -> None:
    world = worlds("whole_carton", coverage=0.05)
    places = set(zip(world.schemes["account"], world.schemes["destination"], strict=True))
    guilty = np.array([place in places for place in zip(world.foreign.account, world.foreign.destination, strict=True)])
    for numbers in (world.foreign.carton, world.foreign.device):
        middle = numbers.max() / 2
        assert np.mean(numbers[guilty] > middle) == pytest.approx(0.5, abs=0.1)


def test_every_family_is_made_of_known_kinds_and_wrong_specs_are_refused() -> None:
    assert {"plain", "holiday", "hubs", "drift"} <= set(NULLS) < set(FAMILIES)
    assert sum(SHELF) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no family"):
        family("nothing")
    with pytest.raises(ValueError, match="known kinds"):
        family("plain", diverting=0.1, kinds=("teleport",))
    with pytest.raises(ValueError, match="needs both"):
        family("plain", diverting=0.1)
    with pytest.raises(ValueError, match="coverage"):
        family("plain", coverage=0.5)
