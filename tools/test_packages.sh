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
# PostgreSQL's programs are in no PATH; PostGIS is a package of one of its versions.
if ! ls /usr/lib/postgresql/*/bin/initdb /usr/share/postgresql/*/extension/postgis.control >/dev/null 2>&1; then
    wanted="$wanted ${POSTGIS_PACKAGE:-postgresql-15-postgis-3}"
    without="$without
no PostgreSQL with PostGIS here: the tests of the index will be skipped"
fi
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$wanted for some tests"
    # The tests make clusters of their own: none shall be made, and started, by the package.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    fi
    # shellcheck disable=SC2086 # several words
    if apt-get update -qq >/dev/null 2>&1 && apt-get install -y -qq $wanted >/dev/null 2>&1; then
        exit 0
    fi
fi
echo "$without" | sed 1d
