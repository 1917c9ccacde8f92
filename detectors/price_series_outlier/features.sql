-- One row per seller, product, channel and week: how far its net unit prices lie from those of its peers and from its own past.
-- Prices are compared within one surface (list, coupon, cart …) and currency; the surface farthest below its peers speaks.
with looks as (
    select n.*, cast(date_trunc('week', n.day) as date) as week
    from fact_price_net_price n
    anti join fact_price_error_reading e on e.relation = n.relation and e.row_key = n.row_key and e.class = 'error'
    where
        n.reading = 'ok'
        and n.unit_price > 0
        and n.day >= $first_day - $history_days
        and n.day < $end_day
),
weekly as (
    select
        subject_id,
        sku,
        channel,
        surface,
        currency,
        week,
        any_value(product_line) as product_line,
        count(*) as looks,
        count(distinct day) as days,
        cast(round(median(unit_price), 4) as decimal(18, 4)) as price,
        min(unit_price) as lowest,
        max(unit_price) as highest,
        list(distinct row_key order by row_key) filter (where relation = 'price_observations') as observations,
        list(distinct row_key order by row_key) filter (where relation = 'inspections') as visits
    from looks
    group by subject_id, sku, channel, surface, currency, week
),
peers as (
    select
        sku,
        channel,
        surface,
        currency,
        week,
        count(distinct subject_id) as sellers,
        cast(round(median(price), 4) as decimal(18, 4)) as peer_price,
        cast(round(quantile_cont(price, 0.75) - quantile_cont(price, 0.25), 4) as decimal(18, 4)) as peer_range
    from weekly
    group by sku, channel, surface, currency, week
    having count(distinct subject_id) >= $min_peers
),
own_past as (
    select
        w.subject_id,
        w.sku,
        w.channel,
        w.surface,
        w.currency,
        w.week,
        cast(round(median(o.price), 4) as decimal(18, 4)) as own_price
    from weekly w
    join weekly o
        on o.subject_id = w.subject_id
        and o.sku = w.sku
        and o.channel = w.channel
        and o.surface = w.surface
        and o.currency = w.currency
        and o.week < w.week
        and o.week >= w.week - $history_days
    where w.week >= $first_day
    group by w.subject_id, w.sku, w.channel, w.surface, w.currency, w.week
    having count(*) >= $min_weeks
),
compared as (
    select
        w.*,
        p.sellers,
        p.peer_price,
        o.own_price,
        cast(round(w.price / p.peer_price, 6) as decimal(18, 6)) as of_peers,
        cast(round(w.lowest / p.peer_price, 6) as decimal(18, 6)) as lowest_of_peers,
        cast(round(w.price / o.own_price, 6) as decimal(18, 6)) as of_own,
        cast(round((w.price - p.peer_price) / greatest(p.peer_range, $min_range * p.peer_price), 6) as decimal(18, 6)) as in_ranges,
        cast(round((w.highest - w.lowest) / w.price, 6) as decimal(18, 6)) as swing
    from weekly w
    join peers p
        on p.sku = w.sku and p.channel = w.channel and p.surface = w.surface and p.currency = w.currency and p.week = w.week
    left join own_past o
        on o.subject_id = w.subject_id
        and o.sku = w.sku
        and o.channel = w.channel
        and o.surface = w.surface
        and o.currency = w.currency
        and o.week = w.week
    where w.week >= $first_day
),
speaking as (
    select subject_id, sku, channel, week, surface, currency, price, peer_price, sellers
    from compared
    qualify row_number() over (partition by subject_id, sku, channel, week order by of_peers, surface, currency) = 1
)
select
    c.subject_id,
    c.sku,
    any_value(coalesce(c.product_line, c.sku)) as product_line,
    c.channel,
    c.week as window_start,
    c.week + 7 as window_end,
    cast(sum(c.looks) as bigint) as looks,
    any_value(s.surface) as surface,
    any_value(s.price) as price,
    any_value(s.peer_price) as peer_price,
    any_value(s.sellers) as sellers,
    any_value(s.currency) as currency,
    greatest(0, max(1 - c.of_peers)) as below_peers,
    greatest(0, max(c.of_peers - 1)) as above_peers,
    greatest(0, max(1 - c.lowest_of_peers)) as lowest_below_peers,
    greatest(0, max(-c.in_ranges)) as ranges_below,
    greatest(0, max(c.in_ranges)) as ranges_above,
    max(greatest(0, 1 - c.of_own)) filter (where c.of_own is not null) as below_own,
    max(greatest(0, c.of_own - 1)) filter (where c.of_own is not null) as above_own,
    max(c.swing) as swing,
    list_slice(flatten(list(coalesce(c.observations, []) order by c.surface, c.currency)), 1, $max_evidence) as evidence_price_observations,
    list_slice(flatten(list(coalesce(c.visits, []) order by c.surface, c.currency)), 1, $max_evidence) as evidence_inspections
from compared c
join speaking s using (subject_id, sku, channel, week)
group by c.subject_id, c.sku, c.channel, c.week
having sum(c.looks) >= $min_looks
