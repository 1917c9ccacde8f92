-- kept
-- Territory grants that apply to a partner: its own, else those of the nearest partner above it.
with recursive current_partners as (
    select partner_id, parent_id
    from partners
    where $night >= coalesce(valid_from, $night)
    qualify row_number() over (partition by partner_id order by valid_from desc nulls last) = 1
),
chain as (
    select partner_id, partner_id as holder_id, parent_id, 0 as depth
    from current_partners
    union all
    select c.partner_id, p.partner_id, p.parent_id, c.depth + 1
    from chain c join current_partners p on p.partner_id = c.parent_id
    where c.depth < 6
)
select
    c.partner_id,
    t.row_key as grant_key,
    t.grant_id,
    t.partner_id as grantee_id,
    t.region_code,
    t.scope,
    t.valid_from,
    t.valid_to,
    c.depth
from chain c join territories t on t.partner_id = c.holder_id
qualify c.depth = min(c.depth) over (partition by c.partner_id)
