-- Serials seen by somebody who does not trade in them: consumers, inspectors, test buyers. One row per reading.
select
    'trace_events' as relation,
    row_key,
    event_id,
    epc,
    event_time as seen_at,
    cast(timezone($timezone, event_time) as date) as seen_on,
    region_code,
    latitude,
    longitude,
    accuracy_m,
    place_source,
    observer,
    device_hash,
    arrived_on
from trace_events
where
    observer in ('consumer_scan', 'field_inspection', 'test_purchase')
    and item_role = 'item'
    and region_code is not null
union all
select
    'inspections' as relation,
    row_key,
    visit_id as event_id,
    epc,
    visited_at as seen_at,
    cast(timezone($timezone, visited_at) as date) as seen_on,
    region_code,
    latitude,
    longitude,
    cast(null as double) as accuracy_m,
    'site' as place_source,
    'field_inspection' as observer,
    inspector_ref as device_hash,
    arrived_on
from inspections
where kind = 'code_read' and epc is not null
