"""What the truth says was planted can be seen in the feeds, and a clean world has none of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fangcuan.simulate.clock import DAY
from fangcuan.simulate.spec import SAMPLE_SCHEMES, every_kind, preset
from fangcuan.simulate.worlds import World


def of_kind(world: World, *kinds: str) -> pd.DataFrame:
    schemes = world.truth["schemes"]
    return schemes[schemes["kind"].isin(kinds)]


def test_every_asked_scheme_is_in_the_truth(sample: World) -> None:
    schemes = sample.truth["schemes"]
    asked = schemes[(schemes["linked"] == "") | (schemes["family"] != "price")]
    counted = (asked["family"] + "." + asked["kind"]).value_counts().to_dict()
    assert counted == SAMPLE_SCHEMES
    assert schemes["scheme_id"].is_unique


def test_units_of_a_diversion_are_scanned_in_the_wrong_region(sample: World) -> None:
    trace, units = sample.trace, sample.truth["units"]
    scans = trace[trace["observer"] == "consumer_scan"]
    home = dict(zip(sample.masters["partners"]["partner_id"], sample.masters["partners"]["region_code"], strict=True))
    schemes = of_kind(sample, "neighbour_cartons", "long_haul", "broker", "quarter_end_dump", "slow_drip", "tier2_leak")
    assert len(schemes) == 9
    for scheme in schemes.itertuples():
        mine = scans[scans["epc"].isin(units.loc[units["scheme_id"] == scheme.scheme_id, "epc"])]
        placed = mine[mine["region_code"].notna()]
        assert len(placed) >= 8, scheme
        assert scheme.region_code != home[scheme.partner_id], scheme
        assert (placed["region_code"] == scheme.region_code).mean() > 0.7, scheme
        assert scheme.sibling_cartons >= 3, scheme


def test_diverted_cartons_were_delivered_to_the_culprit(sample: World) -> None:
    trace, units = sample.trace, sample.truth["units"]
    delivered = trace[trace["biz_step"].eq("shipping") & trace["event_id"].str.startswith("urn:event:SH2")]
    for scheme in of_kind(sample, "neighbour_cartons", "long_haul", "online_supply").itertuples():
        cartons = set(units.loc[units["scheme_id"] == scheme.scheme_id, "carton_epc"])
        mine = delivered[delivered["epc"].isin(cartons)]
        assert set(mine["epc"]) == cartons
        right = mine[
            mine["corrects_event_id"].notna() | ~mine["event_id"].isin(set(trace["corrects_event_id"].dropna()))
        ]
        assert set(right["destination_partner_id"]) == {scheme.partner_id}
        days = pd.Series(right["event_time"] // DAY)
        assert days.nunique() >= 2


def test_forged_codes_are_what_they_claim(sample: World) -> None:
    trace, units = sample.trace, sample.truth["units"]
    made = set(trace.loc[trace["biz_step"] == "commissioning", "epc"])
    scans = trace[trace["observer"] == "consumer_scan"]
    for scheme in of_kind(sample, "never_issued", "cloned_serial", "reappeared").itertuples():
        mine = set(units.loc[units["scheme_id"] == scheme.scheme_id, "epc"])
        seen = scans[scans["epc"].isin(mine)]
        assert len(seen) >= 3
        if scheme.kind == "never_issued":
            assert not mine & made
        elif scheme.kind == "cloned_serial":
            assert mine <= made
            assert seen.groupby("epc")["region_code"].nunique().min() >= 5
        else:
            ended = trace[trace["biz_step"].eq("decommissioning") & trace["epc"].isin(mine)]
            last = ended.set_index("epc")["event_time"]
            assert set(seen["epc"]) <= set(last.index)
            assert (seen["event_time"].to_numpy() > last.loc[seen["epc"]].to_numpy()).all()


def test_price_schemes_break_the_policy_in_force(sample: World) -> None:
    truth = sample.truth["prices"]
    for scheme in of_kind(
        sample, "below_floor", "region_targeted", "coupon_hidden", "bundle_hidden", "above_ceiling"
    ).itertuples():
        mine = truth[truth["scheme_id"] == scheme.scheme_id]
        assert (mine["class"] == "violation").sum() >= 4, scheme
    violations = truth[truth["class"] == "violation"]
    assert (violations["scheme_id"] != "").all()


def test_the_naive_price_rule_accuses_mostly_innocents(sample: World) -> None:
    both = sample.prices.rows.merge(sample.truth["prices"], on="observation_id")
    shown = pd.to_numeric(both["price"])
    floor = pd.to_numeric(both["floor"], errors="coerce")
    accused = both[shown < floor]
    assert len(accused) > 200
    assert (accused["class"] == "violation").mean() < 0.5


def test_the_naive_territory_rule_accuses_nearly_everybody(sample: World) -> None:
    cartons = sample.goods.cartons
    frame = sample.scans.frame[sample.scans.frame["unit"] >= 0]
    carton = sample.units["carton"].to_numpy()[frame["unit"].to_numpy()]
    dealer = cartons["consignee"].to_numpy()[carton]
    outside = (frame["region"].to_numpy() >= 0) & (frame["region"].to_numpy() != sample.net.region[dealer])
    outside &= np.isin(dealer, sample.net.dealers)
    culprits = [member for s in sample.plan.schemes if s.family == "diversion" for member in s.culprits]
    accused = set(dealer[outside].tolist())
    assert len(accused - set(culprits)) > 0.6 * len(sample.net.dealers)
    planted = cartons["scheme"].to_numpy()[carton] >= 0
    assert planted[outside].mean() < 0.45


def test_innocent_flows_of_every_kind_are_there(sample: World, clean: World) -> None:
    kinds = {
        "hub", "migrant_corridor", "border", "mis_shipment", "permit", "redraw", "redraw_recorded_late", "blank_area",
        "gift", "online_bulk", "return", "wrong_aggregation", "campaign", "correction", "scraper_error",
    }  # fmt: skip
    assert kinds <= set(sample.truth["innocents"]["kind"])
    assert kinds <= set(clean.truth["innocents"]["kind"])


def test_the_clean_world_has_no_scheme(clean: World) -> None:
    assert len(clean.truth["schemes"]) == 0
    assert len(clean.truth["units"]) == 0
    assert not (clean.truth["prices"]["class"] == "violation").any()
    assert (clean.truth["prices"]["scheme_id"] == "").all()
    made = set(clean.trace.loc[clean.trace["biz_step"] == "commissioning", "epc"])
    scanned = set(clean.trace.loc[clean.trace["observer"] == "consumer_scan", "epc"])
    assert scanned <= made
    odd = set(clean.truth["flows"]["flow"])
    assert not odd & {"diverted", "online_diverted", "destroyed_on_paper"}


def test_without_nulls_nothing_strays() -> None:
    world = World(preset("tiny", schemes={}, nulls=False, seed=3))
    assert len(world.truth["innocents"]) == 0 or set(world.truth["innocents"]["kind"]) == {"return"}
    assert world.trace["corrects_event_id"].isna().all()


@pytest.mark.parametrize("kind", every_kind())
def test_every_kind_can_be_planted_alone(kind: str) -> None:
    world = World(preset("tiny", schemes={kind: 1}, seed=11))
    planted = world.truth["schemes"]
    assert planted["kind"].iloc[0] == kind.partition(".")[2]
    assert planted["units"].iloc[0] > 0 or planted["family"].iloc[0] == "price"
