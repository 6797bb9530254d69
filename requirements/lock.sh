#!/bin/sh
# Compiles the pinned requirement files from pyproject.toml. The largest set first: the others take its versions, so
# that one virtual environment can grow from `make serve` to `make test` without a package changing under it. Every
# file that a registry has of a version is listed by its hash: what is installed is what was tested, or nothing.
# UPGRADE= keeps the versions that are pinned already.
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
# What the tests install beside .venv, to call the server as other people's programs do.
compile clients.txt requirements/clients.in $here
# What installs and builds.
compile uv.txt requirements/uv.in $here
compile build.txt requirements/build.in $here
compile frontend-image.txt pyproject.toml $image $tested
compile triton-image.txt requirements/triton-image.in $image $tested
# Triton's binary needs a newer glibc.
compile triton-cpu-image.txt requirements/triton-cpu-image.in --no-deps --python-version 3.12 \
    --python-platform x86_64-manylinux_2_35 --no-python-downloads $tested
