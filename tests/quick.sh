#!/bin/sh
# Write one sentence from a running server to test_output.wav: sh tests/quick.sh [URL]
# Set TTS_API_KEY if the server requires a key.
set -eu
url=${1:-${TTS_URL:-http://127.0.0.1:8101}}
curl --fail-with-body --silent --show-error "$url/v1/audio/speech" \
    --header "Content-Type: application/json" ${TTS_API_KEY:+--header "Authorization: Bearer $TTS_API_KEY"} \
    --data '{"input": "There is nothing better than a good cup of coffee.", "voice": "alloy", "response_format": "wav"}' \
    --output test_output.wav
echo "test_output.wav: $(wc -c <test_output.wav) bytes"
