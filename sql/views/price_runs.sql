-- kept
-- Successful looks at offers that ever left their policy and about which something new is known tonight, each with what the two looks before and the two after
-- it said: the material for "two of three looks". Slips are left out. One row per look.
with leavers as (
    select distinct subject_id, sku, channel
    from fact_price_net_price
    where verdict in ('below', 'above')
),
news as (
    select subject_id, sku, channel, day
    from fact_price_net_price
    where fact_night > $since
    union all
    select subject_id, sku, channel, day
    from fact_price_error_reading
    where fact_night > $since
),
touched as (
    select
        n.subject_id,
        n.sku,
        n.channel,
        date_trunc('month', min(day)) - interval 3 month as from_day,
        date_trunc('month', max(day)) + interval 3 month as to_day
    from news n
    semi join leavers l on l.subject_id = n.subject_id and l.sku = n.sku and l.channel = n.channel
    group by n.subject_id, n.sku, n.channel
),
looks as (
    select
        f.relation,
        f.row_key,
        f.observed_at,
        f.day,
        f.subject_id,
        f.platform,
        f.sku,
        f.product_line,
        f.channel,
        f.surface,
        f.series,
        f.pack_quantity,
        f.policy_key,
        f.policy_id,
        f.policy_from,
        f.policy_region_code,
        f.policy_currency,
        f.tolerance_pct,
        f.promotion_key,
        f.compared_price,
        f.floor_applied,
        f.ceiling_applied,
        f.shortfall,
        f.excess,
        f.verdict,
        coalesce(e.class in ('error', 'unsettled') or f.verdict = 'not_judged', false) as passed_over,
        coalesce(greatest(f.fact_night, e.fact_night), f.fact_night) > $since as is_new
    from fact_price_net_price f
    join touched t
        on t.subject_id = f.subject_id
        and t.sku = f.sku
        and t.channel = f.channel
        and f.day >= t.from_day
        and f.day < t.to_day
    left join fact_price_error_reading e on e.relation = f.relation and e.row_key = f.row_key
),
flagged as (
    select
        *,
        not passed_over and verdict = 'below' as is_below,
        not passed_over and verdict = 'above' as is_above
    from looks
),
news_around as (
    select
        *,
        -- A look that was passed over or is no longer below changes what its neighbours confirm.
        bool_or(is_new) over (partition by series order by observed_at, row_key rows between 4 preceding and 4 following)
            as near_new
    from flagged
),
beside as (
    select
        *,
        lag(case when is_below then observed_at end, 1) over looked as below_1_before,
        lag(case when is_below then observed_at end, 2) over looked as below_2_before,
        lead(case when is_below then observed_at end, 1) over looked as below_1_after,
        lead(case when is_below then observed_at end, 2) over looked as below_2_after,
        lag(case when is_above then observed_at end, 1) over looked as above_1_before,
        lag(case when is_above then observed_at end, 2) over looked as above_2_before,
        lead(case when is_above then observed_at end, 1) over looked as above_1_after,
        lead(case when is_above then observed_at end, 2) over looked as above_2_after
    from news_around
    where not passed_over
    window looked as (partition by series order by observed_at, row_key)
)
select
    * exclude (
        below_1_before, below_2_before, below_1_after, below_2_after,
        above_1_before, above_2_before, above_1_after, above_2_after
    ),
    cast(date_trunc('month', day) as date) as month,
    -- Days to the nearest other look, among the two before and the two after, that says the same.
    least(
        date_diff('second', coalesce(below_1_before, below_2_before), observed_at),
        date_diff('second', observed_at, coalesce(below_1_after, below_2_after))
    ) / 86400 as days_to_other_below,
    least(
        date_diff('second', coalesce(above_1_before, above_2_before), observed_at),
        date_diff('second', observed_at, coalesce(above_1_after, above_2_after))
    ) / 86400 as days_to_other_above
from beside
