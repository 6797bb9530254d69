#!/bin/sh
# Installs the pinned requirements $2 and this project into the virtual environment $1.
set -eu
"$1/bin/uv" pip install --quiet --python "$1/bin/python" -r "$2"
"$1/bin/uv" pip install --quiet --python "$1/bin/python" --no-deps --editable .
