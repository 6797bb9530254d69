#!/bin/sh
# Makes the virtual environment $1 with uv in it. PYTHON names the interpreter to start from.
# The embedded Triton needs numpy 1, which has no build for Python 3.13, so 3.11 or 3.12 is looked for first.
set -eu
venv=$1
here=$(dirname "$0")
fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'
fitting=
for candidate in "$PYTHON" python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$fits" 2>/dev/null; then
        fitting=$candidate
        break
    fi
done
python=${fitting:-$PYTHON}
echo "installing into $venv with $python"
# A pip that is there already saves the seconds that it takes to install another one.
if "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear --without-pip "$venv"
    set -- "$python" -m pip --python "$venv/bin/python"
else
    "$python" -m venv --clear "$venv" || {
        echo "Cannot make a virtual environment. Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    }
    set -- "$venv/bin/python" -m pip
fi
"$@" install --quiet --disable-pip-version-check -r "$here/uv.txt"
if [ -z "$fitting" ]; then
    echo "no Python 3.11 or 3.12 found: uv brings one"
    keep=$(mktemp -d)
    cp "$venv/bin/uv" "$keep/uv"
    "$keep/uv" venv --quiet --clear --python 3.12 "$venv"
    mv "$keep/uv" "$venv/bin/uv"
    rmdir "$keep"
fi
touch "$venv/uv.installed"
