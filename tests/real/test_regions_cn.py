"""Chinese regions: a tree without gaps, names and coordinates, and who borders whom, both ways."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def regions(ran):
    return ran("regions_cn")


def test_regions_by_level_with_names_and_coordinates(regions, answers):
    found = regions.ask(
        """
        select level, count(*) as regions, count(latitude) as with_coordinates, count(name_zh) as named
        from regions group by level order by level
        """,
        "regions",
    )
    assert {row.pop("level"): row for row in found} == answers["regions_cn"]["levels"]


def test_every_parent_is_a_region_one_level_up(regions):
    wrong = regions.ask(
        """
        select r.region_code
        from regions r left join regions p on p.region_code = r.parent_code
        where
            (r.level = 'province') <> (r.parent_code is null)
            or (r.level = 'prefecture' and p.level is distinct from 'province')
            or (r.level = 'county' and p.level is distinct from 'prefecture')
        """,
        "regions",
    )
    assert wrong == []


def test_neighbours_stand_in_both_directions_and_are_regions(regions, answers):
    found = regions.one(
        """
        select
            count(*) filter (where r.level = 'province') as provinces,
            count(*) filter (where r.level <> 'province') as prefectures,
            count(*) filter (where r.region_code is null or o.region_code is null) as unknown,
            count(*) filter (
                where (n.neighbour_code, n.region_code) not in (select (region_code, neighbour_code) from region_neighbours)
            ) as one_way
        from region_neighbours n
        left join regions r on r.region_code = n.region_code
        left join regions o on o.region_code = n.neighbour_code
        """,
        "regions",
        "region_neighbours",
    )
    assert found == answers["regions_cn"]["neighbours"]


def test_a_few_known_places(regions, answers):
    found = regions.ask(
        """
        select region_code, parent_code, level, name_zh, round(latitude, 2) as latitude, round(longitude, 2) as longitude
        from regions where region_code in ('320000', '320100', '320102', '441900', '810001', '710000') order by region_code
        """,
        "regions",
    )
    assert found == answers["regions_cn"]["places"]
