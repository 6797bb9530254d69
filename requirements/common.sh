# Functions shared by bootstrap.sh and install.sh.

# Ctrl-C ends a step without further output.
trap 'echo stopping; exit 130' INT TERM HUP
step() {
    SILENT=1 sh local_stack/run.sh "$@"
}

# If the home folder is not writable, uv keeps its cache in the checkout.
cache=${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/}/.cache}/uv}
if ! { mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null; then
    export UV_CACHE_DIR="$PWD/.cache/uv" UV_PYTHON_INSTALL_DIR="$PWD/.cache/python"
    echo "$cache cannot be written: uv uses .cache in this folder instead"
fi

# Exits with the status $1 of a failed step and prints the message $2..., except after Ctrl-C.
failed() {
    status=$1
    shift
    [ "$status" -eq 130 ] || echo "$*" >&2
    exit "$status"
}
network="This machine has to reach the package index: set HTTPS_PROXY, or PIP_INDEX_URL and UV_DEFAULT_INDEX for a mirror."
