-- kept
-- The promotion that an offer may rely on that day: an exemption before a lower floor, then the most specific, then the lowest floor.
with offers as (
    select distinct sku, product_line, region_code, channel, day from touched_prices where sku is not null
),
scoped as (
    select *, sku as scope, 2 as scope_rank from offers
    union all
    select *, product_line, 1 from offers where product_line is not null and product_line <> sku
    union all
    select *, 'all', 0 from offers
)
select
    s.sku,
    s.product_line,
    s.region_code,
    s.channel,
    s.day,
    p.row_key as promotion_key,
    p.promotion_id,
    p.effect,
    p.floor,
    p.currency
from scoped s
join promotions p
    on p.scope = s.scope
    and (p.valid_from is null or s.day >= p.valid_from)
    and (p.valid_to is null or s.day < p.valid_to)
    and (p.channel is null or p.channel = s.channel)
left join region_cover c on c.region_code = s.region_code and c.ancestor_code = p.region_code
where
    (p.region_code is null or c.depth is not null)
    and (p.effect = 'exempt' or p.floor is not null)
qualify row_number() over (
    partition by s.sku, s.product_line, s.region_code, s.channel, s.day
    order by p.effect = 'exempt' desc, s.scope_rank desc, c.depth nulls last, p.floor, p.promotion_id, p.row_key
) = 1
