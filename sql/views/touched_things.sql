-- kept
-- Things whose custody has to be judged tonight. `late_at`: from when on earlier judgements may be wrong; null where nothing
-- is known tonight about a time that was judged before.
with new_steps as (
    select epc from holding_steps where arrived_on > $since and biz_step <> 'commissioning'
),
late_steps as (
    select epc, at from holding_steps
    where arrived_on > $since and cast(timezone($timezone, at) as date) <= $since
    union all
    select child_epc, at from containment_steps
    where arrived_on > $since and cast(timezone($timezone, at) as date) <= $since
    union all
    -- A withdrawal does not say when its event was; all that was said about the thing is looked at again.
    select epc, timestamptz '1900-01-01 00:00:00+00' from withdrawn_steps
    where arrived_on > $since
),
late_things as (
    select epc, min(at) as late_at
    from late_steps
    where $since > date '1900-01-01'
    group by epc
),
inside_late as (
    select c.child_epc as epc, l.late_at
    from containment_steps c join late_things l on c.parent_epc = l.epc
    where c.put_in
),
deep_inside_late as (
    select c.child_epc as epc, l.late_at
    from containment_steps c join inside_late l on c.parent_epc = l.epc
    where c.put_in
),
beside_late as (
    -- What left a carton late, or was in it after all, changes what its neighbours there are compared with.
    select o.child_epc as epc, l.late_at
    from late_things l
    join containment_steps c on c.child_epc = l.epc
    join containment_steps o on o.parent_epc = c.parent_epc
    where c.put_in and o.put_in
),
new_handovers as (
    select epc, at from holding_steps
    where arrived_on > $since and $since > date '1900-01-01' and biz_step in ('commissioning', 'shipping', 'returning')
),
inside_handed as (
    select c.child_epc as epc, n.at
    from containment_steps c join new_handovers n on c.parent_epc = n.epc
    where c.put_in
),
deep_inside_handed as (
    select c.child_epc as epc, n.at
    from containment_steps c join inside_handed n on c.parent_epc = n.epc
    where c.put_in
),
answered_now as (
    -- Taken in shortly before the carton or pallet around it was sent on its way, as far as clocks tell.
    select h.epc
    from holding_steps h
    join (select * from inside_handed union all select * from deep_inside_handed) n
        on n.epc = h.epc and h.at <= n.at and h.at > n.at - interval 3 day
    where h.biz_step = 'receiving' and h.arrived_on <= $since
),
new_permits as (
    select distinct to_partner_id as partner_id
    from transfer_permits
    where cast(timezone($timezone, known_since) as date) > $since and $since > date '1900-01-01'
),
permitted_now as (
    -- A permit recorded tonight may speak for what was taken in during the last weeks.
    select h.epc, h.at as late_at
    from holding_steps h semi join new_permits p on h.partner_id = p.partner_id
    where h.biz_step = 'receiving' and h.at > $night_end - interval 35 day
)
select epc, min(late_at) as late_at
from (
    select epc, cast(null as timestamptz) as late_at from new_steps
    union all
    select epc, late_at from late_things
    union all
    select epc, late_at from inside_late
    union all
    select epc, late_at from deep_inside_late
    union all
    select epc, late_at from beside_late
    union all
    select epc, null from answered_now
    union all
    select epc, late_at from permitted_now
)
group by epc
