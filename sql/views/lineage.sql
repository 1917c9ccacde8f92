-- kept
-- Everything a sighted unit was in before it was seen (itself, carton, pallet), and from when to when.
with unit_steps as (
    select t.sighting_no, t.seen_at, c.parent_epc, c.parent_scheme, c.at, c.put_in, c.event_id
    from containment_steps c join touched_sightings t on c.child_epc = t.epc
),
moved as (
    -- Few units are taken out of anything; only their steps have to be put in order.
    select sighting_no
    from unit_steps
    group by sighting_no
    having count(*) > 1
),
unit_intervals as (
    select
        sighting_no,
        seen_at,
        parent_epc,
        parent_scheme,
        put_in,
        at as from_at,
        cast(null as timestamptz) as to_at
    from unit_steps anti join moved using (sighting_no)
    union all
    -- The next step of the same child, out or into something else, ends a stay.
    select
        sighting_no,
        seen_at,
        parent_epc,
        parent_scheme,
        put_in,
        at as from_at,
        lead(at) over (partition by sighting_no order by at, event_id) as to_at
    from unit_steps semi join moved using (sighting_no)
),
cartons as (
    select sighting_no, seen_at, parent_epc, parent_scheme, from_at, to_at
    from unit_intervals
    where put_in and from_at <= seen_at
),
carton_steps as (
    select c.child_epc, c.parent_epc, c.at, c.put_in, c.event_id
    from containment_steps c
    semi join cartons k on c.child_scheme = k.parent_scheme and c.child_epc = k.parent_epc
),
carton_intervals as (
    select
        child_epc,
        parent_epc,
        at as from_at,
        put_in,
        lead(at) over (partition by child_epc order by at, event_id) as to_at
    from carton_steps
),
pallets as (
    select
        k.sighting_no,
        k.seen_at,
        i.parent_epc,
        greatest(i.from_at, k.from_at) as from_at,
        least(i.to_at, k.to_at) as to_at
    from cartons k
    join carton_intervals i
        on i.child_epc = k.parent_epc and i.put_in and i.from_at <= k.seen_at
    where greatest(i.from_at, k.from_at) < coalesce(least(i.to_at, k.to_at), k.seen_at + interval 1 second)
)
select
    sighting_no,
    seen_at,
    epc as ancestor_epc,
    0 as depth,
    timestamptz '1900-01-01 00:00:00+00' as from_at,
    cast(null as timestamptz) as to_at
from touched_sightings
union all
select sighting_no, seen_at, parent_epc, 1, from_at, to_at from cartons
union all
select sighting_no, seen_at, parent_epc, 2, from_at, to_at from pallets
