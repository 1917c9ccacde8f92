-- kept
-- The one price policy that judges an offer (sku, line, region, channel, tier, surface) on a day: of those in force that fit, the
-- most specific. One row per offer that has a policy.
with offers as (
    select distinct sku, product_line, region_code, channel, tier, surface, day from touched_prices where sku is not null
),
scoped as (
    select *, sku as scope, 2 as scope_rank from offers
    union all
    select *, product_line, 1 from offers where product_line is not null and product_line <> sku
    union all
    select *, 'all', 0 from offers
),
fitting as (
    select
        s.*,
        p.row_key as policy_key,
        p.policy_id,
        p.valid_from,
        p.region_code as policy_region_code,
        p.mode,
        p.floor,
        p.ceiling,
        p.currency,
        coalesce(p.tax_included, true) as tax_included,
        coalesce(p.tolerance_pct, 0) as tolerance_pct,
        p.jurisdiction,
        (p.tier is not null)::integer as tier_rank,
        (p.surface is not null)::integer as surface_rank,
        (p.channel is not null)::integer as channel_rank,
        p.known_since
    from scoped s
    join price_policies p
        on p.scope = s.scope
        and (p.valid_from is null or s.day >= p.valid_from)
        and (p.valid_to is null or s.day < p.valid_to)
        and (p.channel is null or p.channel = s.channel)
        and (p.tier is null or p.tier = s.tier)
        and (p.surface is null or p.surface = s.surface)
    -- What is paid at the till, on an invoice or by members alone is not advertised.
    where p.mode <> 'advertised_minimum' or p.surface is not null or s.surface in ('list', 'coupon', 'shelf')
)
select
    f.sku,
    f.product_line,
    f.region_code,
    f.channel,
    f.tier,
    f.surface,
    f.day,
    f.policy_key,
    f.policy_id,
    f.valid_from as policy_from,
    f.policy_region_code,
    f.mode,
    f.floor,
    -- A unified price is floor and ceiling in one.
    case when f.mode = 'unified' then coalesce(f.ceiling, f.floor) else f.ceiling end as ceiling,
    f.currency,
    f.tax_included,
    f.tolerance_pct,
    f.jurisdiction
from fitting f
left join region_cover c on c.region_code = f.region_code and c.ancestor_code = f.policy_region_code
where f.policy_region_code is null or c.depth is not null
qualify row_number() over (
    partition by f.sku, f.product_line, f.region_code, f.channel, f.tier, f.surface, f.day
    order by
        f.scope_rank desc,
        c.depth nulls last,
        f.tier_rank desc,
        f.surface_rank desc,
        f.channel_rank desc,
        f.valid_from desc nulls last,
        f.known_since desc,
        f.policy_id
) = 1
