#!/bin/sh
# Makes the virtual environment $1 with uv in it. PYTHON names the interpreter to start from.
# The embedded Triton needs numpy 1, which has no build for Python 3.13, so 3.11 or 3.12 is looked for first.
set -eu
venv=$1
here=$(dirname "$0")
fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'
python=
for candidate in "$PYTHON" python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$fits" 2>/dev/null; then
        python=$candidate
        break
    fi
done
echo "installing into $venv with ${python:-$PYTHON}"
if ! "${python:-$PYTHON}" -m venv --clear "$venv" >"$here/../.venv.log" 2>&1; then
    cat "$here/../.venv.log" >&2
    echo "Cannot make a virtual environment. Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
fi
rm -f "$here/../.venv.log"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/uv.txt"
if [ -z "$python" ]; then
    echo "no Python 3.11 or 3.12 found: uv brings one"
    "$venv/bin/uv" python install --quiet 3.12
    uv=$(mktemp -d)
    cp "$venv/bin/uv" "$uv/uv"
    "$uv/uv" venv --quiet --clear --python 3.12 "$venv"
    mv "$uv/uv" "$venv/bin/uv"
    rmdir "$uv"
fi
touch "$venv/uv.installed"
