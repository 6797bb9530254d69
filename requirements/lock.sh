#!/bin/sh
# Compiles the pinned requirement files from pyproject.toml. The largest set first: the others take its versions, so
# that one virtual environment can grow from `make serve` to `make test` without a package changing under it.
set -eu
uv=$1
cd "$(dirname "$0")/.."
compile() {
    output=requirements/$1
    shift
    "$uv" pip compile --quiet --upgrade --universal --no-header --no-annotate --no-emit-index-url \
        --python-version 3.11 "$@" --output-file "$output"
}
compile dev.txt pyproject.toml --extra embedded --extra qwen --extra dev
compile qwen.txt pyproject.toml --extra embedded --extra qwen --constraints requirements/dev.txt
compile serve.txt pyproject.toml --extra embedded --constraints requirements/dev.txt
