-- kept, numbered by sighting_no
-- Sightings to judge tonight: new ones, and earlier ones whose custody or territory became known only now. Their number joins
-- the views of one night and means nothing beyond it.
with late_steps as (
    -- A step is late when it tells of a time that was judged before it arrived.
    select epc from holding_steps
    where arrived_on > $since and cast(timezone($timezone, at) as date) <= $since
    union
    select child_epc from containment_steps
    where arrived_on > $since and cast(timezone($timezone, at) as date) <= $since
    union
    -- What a withdrawn event once said about a thing has to be looked at again.
    select epc from withdrawn_steps
    where arrived_on > $since
),
inside_late as (
    select child_epc as epc from containment_steps c semi join late_steps l on c.parent_epc = l.epc
),
touched as (
    select epc from late_steps
    union
    select epc from inside_late
    union
    select child_epc from containment_steps c semi join inside_late l on c.parent_epc = l.epc
),
changed_grants as (
    select count(*) as n
    from (
        select known_since from territories
        union all
        select known_since from transfer_permits
        union all
        select known_since from partners
    )
    where cast(timezone($timezone, known_since) as date) > $since and $since > date '1900-01-01'
)
select *
from sightings
where arrived_on > $since
union all
select s.*
from sightings s
where
    s.arrived_on <= $since
    and s.seen_on > $night - 35
    and (s.epc in (select epc from touched) or (select n from changed_grants) > 0)
