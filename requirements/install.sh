#!/bin/sh
# Installs the pinned requirements $2 and this project into the virtual environment $1.
set -eu
# Compiled on every core now, instead of on one at the first start and again in every model's process.
"$1/bin/uv" pip install --quiet --require-hashes --compile-bytecode --python "$1/bin/python" -r "$2"
"$1/bin/uv" pip install --quiet --python "$1/bin/python" --no-deps \
    --build-constraints "$(dirname "$0")/build.txt" --editable .
