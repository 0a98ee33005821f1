#!/bin/sh
# Makes docker/secrets/ with new random keys for compose.yaml; leaves files that are there as they are.
#
# The folder is for its owner alone. The files in it are not, since the users inside of containers read them by other ids.
set -eu

folder=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/secrets
umask 077
mkdir -p "$folder"
cd "$folder"

random() { LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 40; }
make() { if [ -e "$1" ]; then cat >/dev/null; else cat >"$1"; chmod 0444 "$1"; fi; }

random | make database_password
printf 'postgresql://stacpin:%s@db:5432/stacpin\n' "$(cat database_password)" | make database_url
random | make s3_key
printf '[default]\naws_access_key_id = stacpin\naws_secret_access_key = %s\n' "$(cat s3_key)" | make aws_credentials
printf '{"identities": [{"name": "stacpin", "credentials": [{"accessKey": "stacpin", "secretKey": "%s"}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}\n' \
    "$(cat s3_key)" | make s3_identities
