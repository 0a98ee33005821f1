#!/bin/sh
# Makes .venv from the lock file. Needs Python 3.11 or newer; brings uv along where it is missing.
set -eu
cd "$(dirname "$0")/.."

python=""
for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$(command -v "$candidate")
        break
    fi
done
if [ -z "$python" ]; then
    echo "stacpin needs Python 3.11 or newer; set PYTHON to where it is." >&2
    exit 1
fi

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    uv=.tools/bin/uv
    if [ ! -x "$uv" ]; then
        echo "setting up uv in .tools" >&2
        # Debian ships Python without ensurepip: its package is needed once.
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
        fi
        if "$python" -m venv .tools >/dev/null 2>&1; then
            .tools/bin/python -m pip install --quiet --disable-pip-version-check uv
        elif "$python" -m pip --version >/dev/null 2>&1; then
            "$python" -m pip install --quiet --disable-pip-version-check --target .tools/lib uv
            mkdir -p .tools/bin && cp .tools/lib/bin/uv "$uv"
        else
            echo "Python has neither venv nor pip here. Install one, e.g.: sudo apt-get install python3-venv" >&2
            exit 1
        fi
    fi
fi

UV_PYTHON_DOWNLOADS=never "$uv" sync --frozen --quiet --python "$python"
touch .venv/.synced
