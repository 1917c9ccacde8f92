#!/bin/sh
# Makes every secret the services need, at random, once: deploy/secrets/<name>. What is there is kept.
# The folder is readable by you alone; the files are readable to all, as the services run under another user.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'; }
for name in postgres_password fangcuan_owner_password fangcuan_app_password airflow_password admin_login \
    airflow_fernet_key airflow_api_secret_key airflow_jwt_secret; do
    if [ ! -s "$folder/$name" ]; then
        random >"$folder/$name"
        chmod 444 "$folder/$name"
        echo "made $folder/$name"
    fi
done
