-- kept
-- Which partner was entitled to hold a sighted unit when it was seen: the last one it was shipped, returned or commissioned to,
-- or the one who took it over under a written permit. One row per sighting that has any custody.
with steps as (
    select
        l.row_key,
        l.depth,
        h.at,
        h.biz_step,
        h.partner_id,
        h.from_partner_id,
        h.event_id,
        h.row_key as step_key
    from lineage l
    join holding_steps h
        on h.epc = l.ancestor_epc and h.at <= l.seen_at and h.at >= l.from_at and (l.to_at is null or h.at < l.to_at)
    where h.partner_id is not null
),
handed_over as (
    select row_key, partner_id, at, event_id, step_key
    from steps
    where biz_step in ('commissioning', 'shipping', 'returning')
    qualify row_number() over (partition by row_key order by at desc, biz_step, depth desc, event_id desc) = 1
),
taken_in as (
    select row_key, partner_id, at, event_id, step_key
    from steps
    where biz_step = 'receiving'
    qualify row_number() over (partition by row_key order by at desc, depth desc, event_id desc) = 1
),
goods as (
    select
        l.row_key,
        min(h.sku) as sku,
        min(h.lot) as lot
    from lineage l join holding_steps h on h.epc = l.ancestor_epc
    group by l.row_key
),
packed as (
    select row_key, arg_max(ancestor_epc, from_at) as carton_epc
    from lineage
    where depth = 1
    group by row_key
),
permitted as (
    select r.row_key, min(p.permit_id) as permit_id
    from taken_in r
    join handed_over o using (row_key)
    join goods g using (row_key)
    left join products q
        on q.sku = g.sku
        and cast(timezone($timezone, r.at) as date) >= q.valid_from
        and (q.valid_to is null or cast(timezone($timezone, r.at) as date) < q.valid_to)
    join transfer_permits p
        on p.from_partner_id = o.partner_id
        and p.to_partner_id = r.partner_id
        and cast(timezone($timezone, r.at) as date) >= p.valid_from
        and (p.valid_to is null or cast(timezone($timezone, r.at) as date) < p.valid_to)
        and p.scope in ('all', g.sku, q.product_line)
        and (p.lot is null or p.lot = g.lot)
    where r.at >= o.at
    group by r.row_key
)
select
    l.row_key,
    case
        when o.partner_id is null then r.partner_id
        when p.permit_id is not null then r.partner_id
        else o.partner_id
    end as partner_id,
    coalesce(o.at, r.at) as entitled_at,
    -- The record that made the partner the holder: what a case shows beside the reading.
    case when p.permit_id is not null then r.step_key else coalesce(o.step_key, r.step_key) end as entitled_by,
    r.partner_id as last_received_by,
    p.permit_id,
    k.carton_epc,
    g.sku,
    g.lot
from (select distinct row_key from lineage) l
left join handed_over o using (row_key)
left join taken_in r using (row_key)
left join goods g using (row_key)
left join packed k using (row_key)
left join permitted p using (row_key)
where o.partner_id is not null or r.partner_id is not null
