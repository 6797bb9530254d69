"""How soon a running server is heard: request sent to first audible sample received, as a client sees it.

    make serve                                  # elsewhere
    python -m bench.first_audio [--url http://127.0.0.1:8101] [--requests 30]

The first request loads the model; it is reported apart. A header or silence does not count as heard.
"""

import argparse
import http.client
import json
import statistics
import time
from urllib.parse import urlsplit

import numpy as np

TEXT = "There is nothing better than a good cup of coffee."
AUDIBLE = 0.01  # of full scale, -40 dBFS
READ_BYTES = 960  # 20 ms


def first_audio_s(url: str, text: str) -> float:
    """Seconds until a sample of the reply is audible."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    body = json.dumps({"input": text, "voice": "alloy", "response_format": "pcm"})
    begin_s = time.perf_counter()
    connection.request("POST", "/v1/audio/speech", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()
    heard_s = 0.0
    while piece := reply.read(READ_BYTES):
        if not heard_s and np.abs(np.frombuffer(piece, "<i2")).max() > AUDIBLE * 32768:
            heard_s = time.perf_counter() - begin_s
    connection.close()
    assert heard_s, "the reply was silent"
    return heard_s


def main() -> None:
    parser = argparse.ArgumentParser(description="How soon a running server is heard.")
    parser.add_argument("--url", default="http://127.0.0.1:8101")
    parser.add_argument("--requests", type=int, default=30)
    options = parser.parse_args()
    cold_s = first_audio_s(options.url, TEXT)
    times_ms = sorted(1000 * first_audio_s(options.url, TEXT) for _ in range(options.requests))
    p95 = times_ms[int(0.95 * (len(times_ms) - 1))]
    print(f"first request {cold_s:.2f} s; then median {statistics.median(times_ms):.0f} ms, p95 {p95:.0f} ms")


if __name__ == "__main__":
    main()
