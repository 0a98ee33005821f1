#!/bin/sh
# As root on Debian or Ubuntu, installs what some tests use beside Python's packages; elsewhere says what will be skipped.
set -u
if command -v chromium >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing chromium for the tests of STAC Browser"
    if apt-get update -qq >/dev/null 2>&1 && apt-get install -y -qq chromium >/dev/null 2>&1; then
        exit 0
    fi
fi
echo "no chromium here: the tests of STAC Browser will be skipped"
