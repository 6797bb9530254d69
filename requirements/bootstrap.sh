#!/bin/sh
# Makes the virtual environment $1 with uv in it. PYTHON names the interpreter to start from.
# The embedded Triton needs numpy 1, which has no build for Python 3.13, so 3.11 or 3.12 is looked for first; and its
# Python backend needs the shared library of that Python (local_stack/embedded.py looks in the same places).
set -eu
venv=$1
here=$(dirname "$0")
fits='
import os, sys, sysconfig
version = sys.version_info[:2]
name = "libpython%d.%d.so.1.0" % version
folders = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), sys.base_prefix + "/lib"]
folders += ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"]
found = any(folder and os.path.exists(os.path.join(folder, name)) for folder in folders)
sys.exit(not ((3, 11) <= version <= (3, 12) and found))
'
fail() {
    echo "$1: install Python 3.11 or 3.12 with its libpython and venv packages (Debian 12, Ubuntu 24.04:" \
        "apt-get install python3-venv libpython3-dev), or pass PYTHON=/path/to/python3." >&2
    exit 1
}

fitting=
for candidate in "$PYTHON" python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$fits" 2>/dev/null; then
        fitting=$candidate
        break
    fi
done
# A path, since pip --python takes no name.
python=$(command -v "${fitting:-$PYTHON}") || fail "there is no $PYTHON"
echo "installing into $venv with $python"
# A pip that is there already, and can install elsewhere (22.3), saves the seconds that it takes to install another one.
if "$python" -m pip --python "$python" --version >/dev/null 2>&1; then
    "$python" -m venv --clear --without-pip "$venv" || fail "cannot make a virtual environment with $python"
    set -- "$python" -m pip --python "$venv/bin/python"
else
    "$python" -m venv --clear "$venv" || fail "cannot make a virtual environment with $python"
    set -- "$venv/bin/python" -m pip
fi
"$@" install --quiet --disable-pip-version-check --require-hashes -r "$here/uv.txt"
if [ -z "$fitting" ]; then
    echo "no Python 3.11 or 3.12 with its libpython found: uv brings one"
    keep=$(mktemp -d)
    trap 'rm -rf "$keep"' EXIT
    cp "$venv/bin/uv" "$keep/uv"
    # Managed, or uv would take the system's 3.12 without its libpython.
    "$keep/uv" venv --quiet --clear --managed-python --python 3.12 "$venv" || fail "uv could not bring Python 3.12"
    mv "$keep/uv" "$venv/bin/uv"
fi
touch "$venv/uv.installed"
