#!/bin/sh
# Compiles the pinned requirement files from pyproject.toml. The largest set comes first and constrains the others, so
# that one virtual environment can grow from `make serve` to `make test` without changing installed packages. Every
# file of a version is listed by its hash: exactly what was tested is installed.
# UPGRADE= keeps the versions that are already pinned.
set -eu
uv=$1
upgrade=${UPGRADE---upgrade}
cd "$(dirname "$0")/.."
compile() {
    output=requirements/$1
    shift
    "$uv" pip compile --quiet $upgrade --no-header --no-annotate --no-emit-index-url --generate-hashes "$@" \
        --output-file "$output"
}
tested="--constraints requirements/dev.txt"
here="--universal --python-version 3.11"
image="--python-version 3.12 --python-platform x86_64-manylinux_2_28 --no-python-downloads"
compile dev.txt pyproject.toml --extra embedded --extra qwen --extra dev $here
compile qwen.txt pyproject.toml --extra embedded --extra qwen $here $tested
compile serve.txt pyproject.toml --extra embedded $here $tested
# Third-party clients that the tests install outside .venv.
compile clients.txt requirements/clients.in $here
# Tools for installing and building.
compile uv.txt requirements/uv.in $here
compile build.txt requirements/build.in $here
compile frontend-image.txt pyproject.toml $image $tested
compile triton-image.txt requirements/triton-image.in $image $tested
# Triton's binary needs a newer glibc.
compile triton-cpu-image.txt requirements/triton-cpu-image.in --no-deps --python-version 3.12 \
    --python-platform x86_64-manylinux_2_35 --no-python-downloads $tested
