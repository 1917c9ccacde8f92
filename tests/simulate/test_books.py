"""The sales feed agrees with the goods: honest books balance, those of diverters do not."""

from __future__ import annotations

import pandas as pd

from fangcuan.simulate.worlds import World


def unexplained(world: World) -> pd.Series:
    """Units by partner that came in and neither were sold, returned nor are in stock, between two counts."""
    rows = world.sales.sort_values("recorded_at").drop_duplicates(["document_ref", "flow"], keep="last")
    counts = rows[rows["flow"] == "stock"]
    first, last = counts["day"].min(), counts["day"].max()
    between = rows[(rows["day"] > first) & (rows["day"] <= last)]
    flows = between.groupby(["partner_id", "flow"])["quantity"].sum().unstack(fill_value=0)
    stock = counts.groupby(["partner_id", "day"])["quantity"].sum().unstack()
    return stock[first] + flows["sell_in"] - flows["sell_out"] - flows["return"] - stock[last]


def test_honest_dealers_balance_and_diverters_do_not(sample: World) -> None:
    gap = unexplained(sample)
    dealers = set(sample.net.ids[sample.net.dealers])
    schemes = sample.truth["schemes"]
    involved = set(schemes["partner_id"]) | {name for text in schemes["accomplices"] for name in text.split()}
    innocents = sample.truth["innocents"]
    strayed = innocents[innocents["kind"] == "mis_shipment"]
    involved |= set(strayed["subject"]) | {word for text in strayed["note"] for word in text.split()}
    honest = gap[[name for name in gap.index if name in dealers and name not in involved]]
    assert len(honest) > 20
    assert honest.abs().quantile(0.9) < 80
    for scheme in schemes[schemes["kind"].isin(["long_haul", "neighbour_cartons", "online_supply"])].itertuples():
        assert gap[scheme.partner_id] > 0.25 * scheme.units, scheme
    for scheme in schemes[schemes["kind"] == "grey_inflow"].itertuples():
        assert gap[scheme.partner_id] < -0.4 * scheme.units, scheme


def test_a_bulge_at_the_end_of_the_period_is_followed_by_quiet(sample: World) -> None:
    orders = sample.sales[sample.sales["flow"] == "order"]
    days = pd.to_datetime(orders["day"])
    for scheme in sample.truth["schemes"].query("kind == 'period_end_bulge'").itertuples():
        mine = orders["partner_id"].eq(scheme.partner_id)
        end = pd.Timestamp(scheme.last_day)
        rush = orders[mine & days.between(end - pd.Timedelta(days=13), end)]["quantity"].sum()
        usual = (
            orders[mine & days.between(end - pd.Timedelta(days=97), end - pd.Timedelta(days=14))]["quantity"].sum() / 6
        )
        assert rush > 1.8 * usual, scheme


def test_amended_documents_repeat_their_reference(sample: World) -> None:
    notes = sample.sales[sample.sales["flow"] == "sell_in"]
    amended = notes[notes.duplicated("document_ref", keep=False)]
    assert amended["document_ref"].nunique() > 10
    assert amended.groupby("document_ref")["recorded_at"].nunique().min() == 2
