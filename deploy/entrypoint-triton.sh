#!/bin/sh
# The Triton container's process 1: makes the key of Triton's model control where there is none yet, then becomes
# tritonserver, so that SIGTERM reaches it and its model processes end with it. More arguments are passed on.
# `check` as the first one checks the engine on this machine's GPU instead: docker compose run --rm triton check
set -eu

if [ "${1:-}" = check ]; then
    shift
    exec python3 -m speech_engines.qwen3_tts.check "$@"
fi

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
    set -- "--http-restricted-api=model-repository,shared-memory,logging,trace:triton-control-key=$key" "$@"
fi
exec tritonserver \
    --model-repository=/opt/speech/model_repository \
    --model-control-mode=explicit \
    --strict-readiness=false \
    --disable-auto-complete-config \
    --allow-grpc=false \
    --http-port=8000 \
    --metrics-port=8002 \
    --exit-timeout-secs=30 \
    "$@"
