-- kept
-- Which regions a region lies under, itself included.
with recursive cover as (
    select region_code, region_code as ancestor_code, parent_code, 0 as depth
    from regions
    union all
    select c.region_code, r.region_code, r.parent_code, c.depth + 1
    from cover c join regions r on r.region_code = c.parent_code
    where c.depth < 8
)
select distinct region_code, ancestor_code, depth from cover
