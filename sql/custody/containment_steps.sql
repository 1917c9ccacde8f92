-- What was put into what, and when it was taken out: one row per child and aggregation event.
select
    epc as child_epc,
    parent_epc,
    event_time as at,
    action = 'ADD' as put_in,
    event_id,
    arrived_on
from batch_rows
where
    event_type in ('aggregation', 'association')
    and item_role = 'child'
    and parent_epc is not null
    and action in ('ADD', 'DELETE')
