#!/bin/sh
# As root on Debian or Ubuntu, installs what some tests use beside Python's packages; elsewhere says what will be skipped.
set -u
wanted=""
without=""
# command:package:the tests that use it
for each in chromium:chromium:"of STAC Browser" faketime:faketime:"of a wrong clock" \
    mkfs.btrfs:btrfs-progs:"of clones on btrfs" mkfs.xfs:xfsprogs:"of clones on XFS"; do
    command=${each%%:*}
    rest=${each#*:}
    if ! PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null 2>&1; then
        wanted="$wanted ${rest%%:*}"
        without="$without
no $command here: the tests ${rest#*:} will be skipped"
    fi
done
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$wanted for some tests"
    # shellcheck disable=SC2086 # several words
    if apt-get update -qq >/dev/null 2>&1 && apt-get install -y -qq $wanted >/dev/null 2>&1; then
        exit 0
    fi
fi
echo "$without" | sed 1d
