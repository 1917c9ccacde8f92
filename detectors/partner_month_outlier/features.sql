-- One row per partner and month: what readings say about where its goods turn up, and what its ledger says about the month.
with readings as (
    select *, cast(date_trunc('month', seen_on) as date) as month
    from fact_diversion_out_of_territory
    where
        partner_id is not null
        and status in ('inside', 'outside', 'undetermined')
        and seen_on >= $first_day
        and seen_on < $end_day
),
seen as (
    select
        partner_id,
        month,
        count(distinct epc) as units_seen,
        count(distinct epc) filter (where status = 'outside') as foreign_units,
        count(distinct device_hash) filter (where status = 'outside') as foreign_devices,
        count(distinct seen_on) filter (where status = 'outside') as foreign_days
    from readings
    group by partner_id, month
    having count(distinct epc) >= $min_units
),
by_region as (
    select partner_id, month, region_code, count(distinct epc) as units
    from readings
    where status = 'outside'
    group by partner_id, month, region_code
),
spread as (
    select partner_id, month, count(*) as foreign_regions, max(units) as top_units
    from by_region
    group by partner_id, month
),
top_regions as (
    select partner_id, month, region_code
    from by_region
    qualify row_number() over (partition by partner_id, month order by units desc, region_code) = 1
),
carton_regions as (
    select partner_id, month, region_code, carton_epc, count(distinct epc) as units
    from readings
    where status = 'outside' and carton_epc is not null
    group by partner_id, month, region_code, carton_epc
),
cartons as (
    select partner_id, month, count(distinct carton_epc) filter (where units >= 2) as whole_cartons
    from carton_regions
    group by partner_id, month
),
ledger as (
    select
        partner_id,
        cast(date_trunc('month', day) as date) as month,
        coalesce(sum(quantity) filter (where flow = 'sell_in'), 0) as bought,
        coalesce(sum(quantity) filter (where flow = 'sell_out'), 0) as sold
    from sales
    where day >= $first_day - $trailing_days and day < $end_day and day <= $night and flow in ('sell_in', 'sell_out')
    group by partner_id, cast(date_trunc('month', day) as date)
),
trailing as (
    select
        s.partner_id,
        s.month,
        sum(l.bought) as bought,
        sum(l.sold) as sold,
        count(*) as months
    from seen s
    join ledger l on l.partner_id = s.partner_id and l.month < s.month and l.month >= s.month - $trailing_days
    group by s.partner_id, s.month
),
proof as (
    select
        partner_id,
        month,
        list(distinct row_key order by row_key) filter (where relation = 'trace_events') as scans,
        list(distinct row_key order by row_key) filter (where relation = 'inspections') as visits
    from readings
    where status = 'outside'
    group by partner_id, month
)
select
    s.partner_id as subject_id,
    r.region_code,
    s.month as window_start,
    cast(s.month + interval 1 month as date) as window_end,
    s.units_seen,
    s.foreign_units,
    cast(round(s.foreign_units / s.units_seen, 6) as decimal(18, 6)) as foreign_share,
    coalesce(p.foreign_regions, 0) as foreign_regions,
    -- Units beyond the first that share the commonest foreign region: chance spreads them, a lorry does not.
    coalesce(p.top_units - 1, 0) as same_region_units,
    coalesce(c.whole_cartons, 0) as whole_cartons,
    s.foreign_devices,
    s.foreign_days,
    case
        when t.months >= $min_months and t.bought > 0 then cast(round(l.bought * t.months / t.bought, 6) as decimal(18, 6))
    end as sell_in_ratio,
    case
        when l.bought + coalesce(t.bought, 0) > 0 and l.sold + coalesce(t.sold, 0) > 0
            then cast(round((l.bought + coalesce(t.bought, 0)) / (l.sold + coalesce(t.sold, 0)), 6) as decimal(18, 6))
    end as bought_per_sold,
    list_slice(f.scans, 1, $max_evidence) as evidence_trace_events,
    list_slice(f.visits, 1, $max_evidence) as evidence_inspections
from seen s
left join spread p on p.partner_id = s.partner_id and p.month = s.month
left join top_regions r on r.partner_id = s.partner_id and r.month = s.month
left join cartons c on c.partner_id = s.partner_id and c.month = s.month
left join ledger l on l.partner_id = s.partner_id and l.month = s.month
left join trailing t on t.partner_id = s.partner_id and t.month = s.month
left join proof f on f.partner_id = s.partner_id and f.month = s.month
