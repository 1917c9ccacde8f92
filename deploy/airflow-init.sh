#!/bin/sh
# Airflow's database, pools and first account. Running it again changes nothing: an account that is there keeps its password.
set -eu
airflow db migrate
airflow pools import "${POOLS:-/opt/deploy/pools.json}"
airflow users create --role Admin --username admin --firstname Admin --lastname Admin --email admin@localhost \
    --password="$(cat "${SECRETS_DIR:-/run/secrets}/admin_login")" # with =: it may begin with a dash
