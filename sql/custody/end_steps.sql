-- The end of a serial: after these steps it must not be seen again.
select
    epc,
    event_time as at,
    coalesce(biz_step, disposition) as ended_by,
    partner_id,
    event_id,
    arrived_on
from batch_rows
where
    biz_step in ('decommissioning', 'destroying')
    or disposition in ('destroyed', 'inactive')
