-- kept
-- Looks to normalise tonight, with seller, product and tier of their day: new looks, and those of the last 92 days for which
-- a policy, promotion, alias, partner, product or rate became known only now.
with changed_policies as (
    select min(coalesce(valid_from, date '1900-01-01')) as first_day
    from (
        select valid_from, known_since from price_policies
        union all
        select valid_from, known_since from promotions
    )
    where cast(timezone($timezone, known_since) as date) > $since
),
changed_aliases as (
    select distinct platform, seller_ref
    from partner_aliases
    where cast(timezone($timezone, known_since) as date) > $since
),
changed_partners as (
    select distinct partner_id
    from (
        select partner_id, known_since from partners
        union all
        select partner_id, known_since from partner_aliases
    )
    where cast(timezone($timezone, known_since) as date) > $since
),
changed_products as (
    select distinct sku from products where cast(timezone($timezone, known_since) as date) > $since
),
changed_rates as (
    -- A daily rate that came on its own day touches that day only.
    select min(coalesce(valid_from, date '1900-01-01')) as first_day
    from fx_rates
    where cast(timezone($timezone, known_since) as date) > $since
),
own_currencies as (
    select distinct currency from price_policies
),
looks as (
    select l.*
    from price_looks l
    where
        l.arrived_on > $since
        or (
            l.day > $night - 92
            and (
                l.day >= (select first_day from changed_policies)
                or l.partner_id in (select partner_id from changed_partners)
                or l.sku in (select sku from changed_products)
                or exists (from changed_aliases a where a.platform = l.platform and a.seller_ref = l.seller_ref)
                or exists (
                    from partner_aliases a
                    where
                        a.platform = l.platform
                        and a.seller_ref = l.seller_ref
                        and a.partner_id in (select partner_id from changed_partners)
                )
                or (
                    l.day >= (select first_day from changed_rates)
                    and (select count(*) from own_currencies where own_currencies.currency <> l.currency) > 0
                )
            )
        )
),
aliases as (
    -- Only what a person confirmed says who stands behind a seller.
    select
        s.platform,
        s.seller_ref,
        s.day,
        a.partner_id,
        a.row_key as alias_key
    from (select distinct platform, seller_ref, day from looks where seller_ref is not null) s
    join partner_aliases a
        on a.platform = s.platform
        and a.seller_ref = s.seller_ref
        and a.confirmed_by is not null
        and (a.valid_from is null or s.day >= a.valid_from)
        and (a.valid_to is null or s.day < a.valid_to)
    qualify row_number() over (
        partition by s.platform, s.seller_ref, s.day order by a.valid_from desc nulls last, a.row_key
    ) = 1
),
goods as (
    select
        s.sku,
        s.day,
        p.product_line,
        p.vat_rate
    from (select distinct sku, day from looks where sku is not null) s
    join products p
        on p.sku = s.sku
        and (p.valid_from is null or s.day >= p.valid_from)
        and (p.valid_to is null or s.day < p.valid_to)
    qualify row_number() over (partition by s.sku, s.day order by p.valid_from desc nulls last, p.row_key) = 1
),
named as (
    select
        l.* exclude (partner_id),
        coalesce(l.partner_id, a.partner_id) as partner_id,
        case
            when l.partner_id is not null then 'given'
            when a.partner_id is not null then 'alias'
            else 'unresolved'
        end as seller_known_by,
        a.alias_key,
        g.product_line,
        g.vat_rate
    from looks l
    left join aliases a on l.partner_id is null and a.platform = l.platform and a.seller_ref = l.seller_ref and a.day = l.day
    left join goods g on g.sku = l.sku and g.day = l.day
),
tiers as (
    select s.partner_id, s.day, p.tier
    from (select distinct partner_id, day from named where partner_id is not null) s
    join partners p
        on p.partner_id = s.partner_id
        and (p.valid_from is null or s.day >= p.valid_from)
        and (p.valid_to is null or s.day < p.valid_to)
    qualify row_number() over (partition by s.partner_id, s.day order by p.valid_from desc nulls last, p.row_key) = 1
)
select
    n.*,
    t.tier,
    coalesce(
        n.partner_id,
        coalesce(n.platform, n.source_id, n.channel) || ':' || coalesce(n.seller_ref, n.shop_name)
    ) as subject_id
from named n
left join tiers t on t.partner_id = n.partner_id and t.day = n.day
