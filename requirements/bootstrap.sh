#!/bin/sh
# Creates the virtual environment $1 with uv in it. PYTHON is the preferred interpreter.
# The embedded Triton needs numpy 1, which has no build for Python 3.13, so 3.11 or 3.12 is searched for; and its Python
# backend needs the shared library of that Python (local_stack/embedded.py searches the same folders).
set -eu
venv=$1
here=$(dirname "$0")
. "$here/common.sh"

# Prints why a Python is unsuitable; nothing if it is suitable.
unfit='
import os, sys, sysconfig
version = "%d.%d" % sys.version_info[:2]
name = "libpython%s.so.1.0" % version
folders = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), sys.base_prefix + "/lib"]
folders += ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"]
if version not in ("3.11", "3.12"):
    print("is Python %s, and the embedded Triton needs 3.11 or 3.12" % version)
elif not any(folder and os.path.exists(os.path.join(folder, name)) for folder in folders):
    print("has no %s, which the embedded Triton needs" % name)
'
advice="Install Python 3.11 or 3.12 with its libpython and venv packages (Debian 12, Ubuntu 24.04: apt-get install \
python3-venv libpython3-dev), or pass PYTHON=/path/to/python3."

case $PWD in
    *:*) failed 1 "A virtual environment cannot be in a folder with ':' in its path. Rename $PWD." ;;
esac
problem=$("$PYTHON" -c "$unfit" 2>/dev/null) || problem="cannot be run here"
fitting=
for candidate in "$PYTHON" python3.12 python3.11; do
    if found=$("$candidate" -c "$unfit" 2>/dev/null) && [ -z "$found" ]; then
        fitting=$candidate
        break
    fi
done
# A missing interpreter is an error if it was named explicitly; python3 is only the start of the search.
if [ "$problem" = "cannot be run here" ] && { [ -z "$fitting" ] || [ "$PYTHON" != python3 ]; }; then
    failed 1 "$PYTHON $problem. $advice"
fi
# A path, since pip --python accepts no name.
python=$(command -v "${fitting:-$PYTHON}")
if [ -n "$problem" ]; then
    echo "$PYTHON $problem: using ${fitting:-Python 3.12, which uv downloads,} instead"
fi
echo "installing into $venv with $python"

# An existing pip that supports --python (22.3) saves the seconds for installing another one.
if "$python" -m pip --python "$python" --version >/dev/null 2>&1; then
    step "$python" -m venv --clear --without-pip "$venv" || failed $? "$python cannot make $venv. $advice"
    set -- "$python" -m pip --python "$venv/bin/python"
else
    step "$python" -m venv --clear "$venv" || failed $? "$python cannot make $venv. $advice"
    set -- "$venv/bin/python" -m pip
fi
# pip's output is shown only on failure.
step "$@" install --quiet --disable-pip-version-check --retries 2 --timeout 10 --require-hashes -r "$here/uv.txt" \
    2>"$venv/pip.log" || {
    status=$?
    grep ERROR "$venv/pip.log" >&2 || true
    failed $status "uv could not be installed. $network"
}
if [ -z "$fitting" ]; then
    keep=$(mktemp -d)
    trap 'rm -rf "$keep"' EXIT
    cp "$venv/bin/uv" "$keep/uv"
    # Managed, since uv would otherwise use the system's 3.12 without its libpython.
    step "$keep/uv" venv --clear --managed-python --python 3.12 "$venv" ||
        failed $? "uv could not bring Python 3.12. $network $advice"
    mv "$keep/uv" "$venv/bin/uv"
fi
touch "$venv/uv.installed"
