#!/bin/sh
# The Triton container's process 1: makes the key of Triton's HTTP API where there is none yet, then becomes the
# supervisor, which runs tritonserver, passes SIGTERM on to it and starts it again when it hangs. More arguments are
# passed on to tritonserver.
set -eu

key="${TRITON_CONTROL_KEY:-}"
file="${TRITON_CONTROL_KEY_FILE:-}"
if [ -z "$key" ] && [ -n "$file" ]; then
    if [ ! -s "$file" ]; then
        umask 077
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
    --model-repository=/opt/speech/model_repository \
    --model-control-mode=explicit \
    --strict-readiness=false \
    --disable-auto-complete-config \
    --allow-grpc=false \
    --http-port=8000 \
    --metrics-port=8002 \
    --exit-timeout-secs=30 \
    "$@"
