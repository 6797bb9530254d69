#!/bin/sh
# Installs the pinned requirements $2 and this project into the virtual environment $1, and makes the file $3.
set -eu
. "$(dirname "$0")/common.sh"
echo "installing the $(grep -c == "$2") packages of $2 into $1"
# Compiled on every core now, instead of on one at the first start and again in every model's process.
step "$1/bin/uv" pip install --require-hashes --compile-bytecode --python "$1/bin/python" -r "$2" ||
    failed $? "The packages could not be installed. $network"
step "$1/bin/uv" pip install --quiet --python "$1/bin/python" --no-deps \
    --build-constraints "$(dirname "$0")/build.txt" --editable . ||
    failed $? "The project itself could not be installed. $network"
touch "$3"
