#!/bin/sh
# Puts database passwords where the PostgreSQL client looks for them, then becomes the command. They come from secret files
# (one per role, named <role>_password) and appear neither in the environment nor in a command line.
set -eu
secrets=${SECRETS_DIR:-/run/secrets}
PGPASSFILE=$(mktemp)
export PGPASSFILE
for file in "$secrets"/*_password; do
    [ -e "$file" ] || continue
    role=$(basename "$file" _password)
    # A colon or backslash would end the field.
    printf '*:*:*:%s:%s\n' "$role" "$(sed 's/[\\:]/\\&/g' "$file")" >>"$PGPASSFILE"
done
export FANGCUAN_SECRETS_DIR="${FANGCUAN_SECRETS_DIR:-$secrets}"
exec "$@"
