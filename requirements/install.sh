#!/bin/sh
# Installs the pinned requirements $2 and this project into the virtual environment $1, then creates the stamp file $3.
set -eu
. "$(dirname "$0")/common.sh"
echo "installing the $(grep -c == "$2") packages of $2 into $1"
# Compile bytecode now, on all cores, instead of at the first start and in every model's process.
step "$1/bin/uv" pip install --require-hashes --compile-bytecode --python "$1/bin/python" -r "$2" ||
    failed $? "The packages could not be installed. $network"
step "$1/bin/uv" pip install --quiet --python "$1/bin/python" --no-deps \
    --build-constraints "$(dirname "$0")/build.txt" --editable . ||
    failed $? "The project itself could not be installed. $network"
touch "$3"
