-- kept
-- Which partner was entitled to hold a sighted unit when it was seen: the last one it was shipped, returned or commissioned to,
-- or the one who took it over under a written permit. One row per touched sighting; no partner where custody is unknown.
with reached as (
    -- One look at the steps tells both who held the unit and what it is.
    select
        l.sighting_no,
        l.depth,
        h.at,
        h.biz_step,
        h.partner_id,
        h.row_key as step_key,
        h.sku,
        h.lot,
        h.partner_id is not null
        and h.at <= l.seen_at
        and h.at >= l.from_at
        and (l.to_at is null or h.at < l.to_at) as counts
    from lineage l
    join holding_steps h on h.epc = l.ancestor_epc
),
last_steps as (
    -- Of handovers at one moment commissioning goes before returning and shipping, the pallet's before the carton's.
    select
        sighting_no,
        max(
            row(
                at,
                case biz_step when 'commissioning' then 2 when 'returning' then 1 else 0 end,
                depth,
                step_key,
                partner_id
            )
        ) filter (where counts and biz_step in ('commissioning', 'returning', 'shipping')) as handed,
        max(row(at, depth, step_key, partner_id)) filter (where counts and biz_step = 'receiving') as taken,
        min(sku) as sku,
        min(lot) as lot
    from reached
    group by sighting_no
),
held as (
    select
        sighting_no,
        struct_extract(handed, 1) as handed_at,
        struct_extract(handed, 5) as handed_to,
        struct_extract(handed, 4) as handed_by_step,
        struct_extract(taken, 1) as taken_at,
        struct_extract(taken, 4) as taken_by,
        struct_extract(taken, 3) as taken_by_step,
        sku,
        lot
    from last_steps
    where handed is not null or taken is not null
),
packed as (
    select sighting_no, arg_max(ancestor_epc, from_at) as carton_epc
    from lineage
    where depth = 1
    group by sighting_no
),
permitted as (
    select h.sighting_no, min(p.permit_id) as permit_id
    from held h
    left join products q
        on q.sku = h.sku
        and cast(timezone($timezone, h.taken_at) as date) >= q.valid_from
        and (q.valid_to is null or cast(timezone($timezone, h.taken_at) as date) < q.valid_to)
    join transfer_permits p
        on p.from_partner_id = h.handed_to
        and p.to_partner_id = h.taken_by
        and cast(timezone($timezone, h.taken_at) as date) >= p.valid_from
        and (p.valid_to is null or cast(timezone($timezone, h.taken_at) as date) < p.valid_to)
        and p.scope in ('all', h.sku, q.product_line)
        and (p.lot is null or p.lot = h.lot)
    where h.taken_at >= h.handed_at
    group by h.sighting_no
)
select
    s.sighting_no,
    s.seen_on,
    s.region_code,
    s.latitude,
    s.longitude,
    case when h.handed_to is null or p.permit_id is not null then h.taken_by else h.handed_to end as partner_id,
    coalesce(h.handed_at, h.taken_at) as entitled_at,
    -- The record that made the partner the holder: what a case shows beside the reading.
    case when p.permit_id is not null then h.taken_by_step else coalesce(h.handed_by_step, h.taken_by_step) end as entitled_by,
    p.permit_id,
    k.carton_epc,
    h.sku,
    h.lot,
    q.product_line
from touched_sightings s
left join held h using (sighting_no)
left join packed k using (sighting_no)
left join permitted p using (sighting_no)
left join products q
    on q.sku = h.sku and s.seen_on >= q.valid_from and (q.valid_to is null or s.seen_on < q.valid_to)
