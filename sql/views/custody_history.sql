-- kept
-- Every step of custody of the things touched tonight: their own, and those of the carton and pallet they were in at the time.
-- One row per thing, event and step; `depth` 0 is the thing itself, `carton_epc` what it was in directly.
with thing_steps as (
    select child_epc, parent_epc, at, put_in, event_id
    from containment_steps c semi join touched_things t on c.child_epc = t.epc
),
thing_intervals as (
    select
        child_epc,
        parent_epc,
        at as from_at,
        put_in,
        lead(at) over (partition by child_epc order by at, put_in, event_id) as to_at
    from thing_steps
),
cartons as (
    select child_epc as epc, parent_epc as carton_epc, from_at, to_at
    from thing_intervals
    where put_in
),
carton_steps as (
    select child_epc, parent_epc, at, put_in, event_id
    from containment_steps c semi join cartons k on c.child_epc = k.carton_epc
),
carton_intervals as (
    select
        child_epc,
        parent_epc,
        at as from_at,
        put_in,
        lead(at) over (partition by child_epc order by at, put_in, event_id) as to_at
    from carton_steps
),
pallets as (
    select
        k.epc,
        k.carton_epc,
        i.parent_epc as pallet_epc,
        greatest(k.from_at, i.from_at) as from_at,
        least(k.to_at, i.to_at) as to_at
    from cartons k
    join carton_intervals i on i.child_epc = k.carton_epc and i.put_in
    where
        (k.to_at is null or i.from_at < k.to_at)
        and (i.to_at is null or k.from_at < i.to_at)
),
lineage_of_things as (
    select
        epc,
        epc as step_epc,
        cast(null as varchar) as carton_epc,
        0 as depth,
        cast(null as timestamptz) as from_at,
        cast(null as timestamptz) as to_at
    from touched_things
    union all
    select epc, carton_epc, carton_epc, 1, from_at, to_at from cartons
    union all
    select epc, pallet_epc, carton_epc, 2, from_at, to_at from pallets
)
select
    l.epc,
    l.carton_epc,
    l.depth,
    h.at,
    h.biz_step,
    h.partner_id,
    h.from_partner_id,
    h.sku,
    h.lot,
    h.event_id,
    h.arrived_on
from lineage_of_things l
join holding_steps h
    on h.epc = l.step_epc and (l.from_at is null or h.at >= l.from_at) and (l.to_at is null or h.at < l.to_at)
-- An event that lists a carton and its units is one step of the unit.
qualify row_number() over (partition by l.epc, h.event_id, h.biz_step order by l.depth, l.step_epc, h.at) = 1
