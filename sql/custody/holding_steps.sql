-- Who became entitled to hold a unit, carton or pallet, or took it in: one row per thing and step of its custody.
select
    epc,
    event_time as at,
    biz_step,
    case
        when biz_step in ('shipping', 'returning') then destination_partner_id
        else partner_id
    end as partner_id,
    coalesce(source_partner_id, partner_id) as from_partner_id,
    sku,
    lot,
    event_id,
    row_key,
    arrived_on
from batch_rows
where
    biz_step in ('commissioning', 'shipping', 'receiving', 'returning')
    and event_type in ('object', 'transaction', 'aggregation')
    and item_role in ('item', 'parent')
    and coalesce(action, 'OBSERVE') <> 'DELETE'
