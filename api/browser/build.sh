#!/bin/sh
# Build STAC Browser into api/browser/dist, which the API serves at /browser/.
#
# usage: sh api/browser/build.sh [--force]
#
# Exit codes: 0 built or already up to date, 1 the build failed (see build.log), 2 usage, 3 Node or npm is missing or too old.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
dist=$here/dist
log=$here/build.log
node_wanted=20

case ${1-} in
    '') force= ;;
    --force) force=yes ;;
    *) echo "usage: sh api/browser/build.sh [--force]" >&2; exit 2 ;;
esac

# Everything that decides what the build gives. cksum is in POSIX, sha256sum is not; the stamp guards against a stale
# folder, not against an attacker.
stamp=$(cd "$here" && cat package.json package-lock.json .npmrc basemaps.config.js map-sources.js prepare.mjs build.sh | cksum)
if [ -z "$force" ] && [ -f "$dist/index.html" ] && [ "$(cat "$dist/.stamp" 2>/dev/null)" = "$stamp" ]; then
    echo "STAC Browser is up to date: $dist"
    exit 0
fi

without() {
    echo "STAC Browser was not built: $1 Install Node.js $node_wanted or newer with npm and run 'sh api/browser/build.sh'." >&2
    exit 3
}
command -v node >/dev/null 2>&1 || without "there is no 'node' here."
command -v npm >/dev/null 2>&1 || without "there is no 'npm' here."
node_is=$(node -p 'process.versions.node' 2>/dev/null) || without "'node' does not run."
[ "${node_is%%.*}" -ge "$node_wanted" ] || without "Node.js $node_is is too old."

# A folder of its own for each run, beside dist so that the last step is a rename: two builds at once do not meet, and what
# an interrupted one leaves behind is never served.
work=$(mktemp -d "$here/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

failed() {
    tail -n 20 "$log" >&2
    echo "STAC Browser was not built: $1 failed; the whole log is in $log" >&2
    exit 1
}
echo "Building STAC Browser (a few minutes, once; log: $log)"
: >"$log"
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$work/"
cd "$work"
npm ci --no-progress >>"$log" 2>&1 </dev/null || failed "'npm ci'"
node "$here/prepare.mjs" "$work" >>"$log" 2>&1 || failed "preparing the sources"
# STAC Browser bakes each environment variable that begins with SB into its bundle: settings by accident, and a leak.
for name in $(env | sed -n 's/^\(SB[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
NODE_ENV=production node node_modules/@vue/cli-service/bin/vue-cli-service.js build \
    --pathPrefix=/browser/ --historyMode=history --noSourceMaps >>"$log" 2>&1 </dev/null || failed "the build"
# The API answers /browser/config.js; a file by that name would hide a mistake there.
rm -f "$work/dist/config.js"
chmod -R a+rX "$work/dist"
printf '%s\n' "$stamp" >"$work/dist/.stamp"

cd "$here"
rm -rf "$dist"
mv "$work/dist" "$dist"
echo "STAC Browser is built: $dist"
