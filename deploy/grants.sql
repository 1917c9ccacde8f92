-- What the nights and the people at the casebook may do: everything but altering or removing history. Run after each upgrade.
grant usage on schema public to fangcuan_app;
grant select, insert, update on all tables in schema public to fangcuan_app;
grant usage on all sequences in schema public to fangcuan_app;
revoke update on event, finding_occurrence from fangcuan_app;
