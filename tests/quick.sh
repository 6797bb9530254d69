#!/bin/sh
# One sentence from a running server into test_output.wav: sh tests/quick.sh [URL]
# TTS_API_KEY in the environment is the key of a server that asks for one.
set -eu
url=${1:-${TTS_URL:-http://127.0.0.1:8101}}
curl --fail-with-body --silent --show-error "$url/v1/audio/speech" \
    --header "Content-Type: application/json" ${TTS_API_KEY:+--header "Authorization: Bearer $TTS_API_KEY"} \
    --data '{"input": "There is nothing better than a good cup of coffee.", "voice": "alloy", "response_format": "wav"}' \
    --output test_output.wav
echo "test_output.wav: $(wc -c <test_output.wav) bytes"
