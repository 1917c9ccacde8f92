-- What the code on a sighted thing says by itself: the item it claims to be and, where the brand knows that item, the product.
with read_codes as (
    select
        *,
        regexp_extract(epc, '^urn:epc:id:sgtin:([0-9]+)[.]([0-9]+)[.]', 1) as company_digits,
        regexp_extract(epc, '^urn:epc:id:sgtin:([0-9]+)[.]([0-9]+)[.]', 2) as item_digits,
        regexp_extract(epc, '/01/([0-9]{8,14})/', 1) as link_digits
    from sightings
),
items as (
    -- The same item written as EPC URI or as Digital Link has the same first 13 digits of its 14-digit GTIN.
    select
        * exclude (company_digits, item_digits, link_digits),
        case
            when item_digits <> '' then 'urn:epc:id:sgtin:' || company_digits || '.' || item_digits
            when link_digits <> '' then 'https://id.gs1.org/01/' || lpad(link_digits, 14, '0')
            else 'plain:' || cast(length(epc) as varchar)
        end as item_code,
        case
            when item_digits <> '' then item_digits[1] || company_digits || item_digits[2:]
            when link_digits <> '' then left(lpad(link_digits, 14, '0'), 13)
        end as gtin_digits
    from read_codes
),
known_items as (
    select
        left(lpad(gtin, 14, '0'), 13) as gtin_digits,
        min(sku) as sku,
        min(product_line) as product_line
    from products
    where gtin is not null and coalesce(valid_from, $night) <= $night and (valid_to is null or valid_to > $night)
    group by left(lpad(gtin, 14, '0'), 13)
)
select
    i.* exclude (gtin_digits),
    k.sku,
    k.product_line
from items i
left join known_items k using (gtin_digits)
