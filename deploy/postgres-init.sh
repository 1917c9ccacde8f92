#!/bin/sh
# Run once by the database's own image, when its volume is new: two databases, and three roles that are no superusers.
set -eu
secrets=${SECRETS_DIR:-/run/secrets}
psql -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
    -v owner="$(cat "$secrets/fangcuan_owner_password")" \
    -v app="$(cat "$secrets/fangcuan_app_password")" \
    -v airflow="$(cat "$secrets/airflow_password")" <<'SQL'
create role fangcuan_owner login password :'owner';
create role fangcuan_app login password :'app';
create role airflow login password :'airflow';
create database fangcuan owner fangcuan_owner;
create database airflow owner airflow;
revoke all on database fangcuan from public;
revoke all on database airflow from public;
grant connect on database fangcuan to fangcuan_app;
SQL
