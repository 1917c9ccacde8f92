-- What was put into what, and when it was taken out: one row per child and aggregation event.
select
    epc as child_epc,
    parent_epc,
    event_time as at,
    action = 'ADD' as put_in,
    event_id,
    arrived_on,
    -- File statistics tell short values apart, not codes that all begin alike: looking for cartons skips the rows of units.
    regexp_extract(epc, '^urn:epc:id:([^:]+):', 1) as child_scheme,
    regexp_extract(parent_epc, '^urn:epc:id:([^:]+):', 1) as parent_scheme
from batch_rows
where
    event_type in ('aggregation', 'association')
    and item_role = 'child'
    and parent_epc is not null
    and action in ('ADD', 'DELETE')
