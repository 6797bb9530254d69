#!/bin/sh
# Process 1 of the Triton container: generates the key of Triton's HTTP API if there is none, then executes the
# supervisor, which runs tritonserver, forwards SIGTERM to it and restarts it when it hangs. Further arguments are
# passed to tritonserver.
# With `check` as the first argument, it checks the engine on this GPU instead: docker compose run --rm triton check
set -eu

cannot_write() {
    echo "$1 cannot be written by user $(id -u): $2. On the host, run" \
        "'sudo chown -R $(id -u):$(id -g)' on the folder that is mounted there." >&2
}

# Reported at startup, not by the first request that downloads.
weights="${HF_HOME:-}"
if [ -n "$weights" ] && ! { mkdir -p "$weights" && [ -w "$weights" ] && [ -x "$weights" ]; } 2>/dev/null; then
    cannot_write "$weights" "missing weights cannot be downloaded"
fi

if [ "${1:-}" = check ]; then
    shift
    exec python3 -m speech_engines.qwen3_tts.check "$@"
fi

key="${TRITON_CONTROL_KEY:-}"
file="${TRITON_CONTROL_KEY_FILE:-}"
if [ -z "$key" ] && [ -n "$file" ]; then
    if [ ! -s "$file" ]; then
        umask 077
        folder=$(dirname "$file")
        if ! [ -w "$folder" ]; then
            cannot_write "$folder" "the key of Triton's model control cannot be created"
            exit 1
        fi
        python3 -c 'import secrets; print(secrets.token_urlsafe(32))' >"$file.new"
        mv "$file.new" "$file"
    fi
    key="$(cat "$file")"
fi
if [ -n "$key" ]; then
    set -- "--http-restricted-api=inference,model-repository,shared-memory,logging,trace:triton-control-key=$key" "$@"
fi
export TRITON_CONTROL_KEY="$key"
exec python3 -m triton_supervisor tritonserver \
    --model-repository="${MODEL_REPOSITORY:-/opt/speech/model_repository}" \
    --model-control-mode=explicit \
    --strict-readiness=false \
    --model-load-thread-count=16 \
    --disable-auto-complete-config \
    --allow-grpc=false \
    --http-port=8000 \
    --metrics-port=8002 \
    --exit-timeout-secs=30 \
    "$@"
