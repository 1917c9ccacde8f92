-- Events that a later statement withdraws.
select distinct
    corrects_event_id as event_id,
    event_id as withdrawn_by,
    arrived_on
from batch_rows
where corrects_event_id is not null
