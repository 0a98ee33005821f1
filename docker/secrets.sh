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

# Of the database: who owns it, who indexes, and who reads.
url() { printf 'postgresql://%s:%s@db:5432/stacpin\n' "$1" "$(cat "$2")"; }
random | make database_password
random | make indexer_password
random | make reader_password
url stacpin database_password | make database_url
url indexer indexer_password | make database_url_index
url reader reader_password | make database_url_read

# Of the object store: who writes, and who reads.
key() { printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$1" "$(cat "$2")"; }
identity() { printf '{"name": "%s", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": [%s]}' "$1" "$1" "$(cat "$2")" "$3"; }
random | make s3_key
random | make s3_read_key
key stacpin s3_key | make aws_credentials
key reader s3_read_key | make aws_credentials_read
printf '{"identities": [%s, %s]}\n' \
    "$(identity stacpin s3_key '"Admin", "Read", "Write", "List", "Tagging"')" \
    "$(identity reader s3_read_key '"Read", "List"')" | make s3_identities
