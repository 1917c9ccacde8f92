-- kept
-- Everything a sighted unit was in before it was seen (itself, carton, pallet), and from when to when.
with unit_steps as (
    select child_epc, parent_epc, at, put_in, event_id
    from containment_steps c semi join touched_sightings t on c.child_epc = t.epc
),
unit_intervals as (
    -- The next step of the same child, out or into something else, ends a stay.
    select
        child_epc,
        parent_epc,
        at as from_at,
        put_in,
        lead(at) over (partition by child_epc order by at, event_id) as to_at
    from unit_steps
),
cartons as (
    select
        t.row_key,
        t.seen_at,
        i.parent_epc,
        i.from_at,
        i.to_at
    from touched_sightings t
    join unit_intervals i on i.child_epc = t.epc and i.put_in and i.from_at <= t.seen_at
),
carton_steps as (
    select child_epc, parent_epc, at, put_in, event_id
    from containment_steps c semi join cartons k on c.child_epc = k.parent_epc
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
        k.row_key,
        k.seen_at,
        i.parent_epc,
        greatest(i.from_at, k.from_at) as from_at,
        least(i.to_at, k.to_at) as to_at
    from cartons k
    join carton_intervals i
        on i.child_epc = k.parent_epc and i.put_in and i.from_at <= k.seen_at
    where greatest(i.from_at, k.from_at) < coalesce(least(i.to_at, k.to_at), k.seen_at + interval 1 second)
)
select row_key, seen_at, epc as ancestor_epc, 0 as depth, timestamptz '1900-01-01 00:00:00+00' as from_at,
    cast(null as timestamptz) as to_at
from touched_sightings
union all
select row_key, seen_at, parent_epc, 1, from_at, to_at from cartons
union all
select row_key, seen_at, parent_epc, 2, from_at, to_at from pallets
