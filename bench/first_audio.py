"""Time to first audible sample of a running server, measured by a client.

    make serve                                  # elsewhere
    python -m bench.first_audio [--url http://127.0.0.1:8101] [--requests 30] [--formats pcm mp3 opus aac flac wav]

The first request loads the model; it is reported separately. A header or silence does not count: what had arrived
by when is noted, and decoded afterwards. Formats are interleaved, so that changes of the machine's speed affect all.
"""

import argparse
import http.client
import io
import json
import statistics
import time
from urllib.parse import urlsplit

import av
import numpy as np

TEXT = "There is nothing better than a good cup of coffee."
AUDIBLE = 0.01  # of full scale, -40 dBFS
READ_BYTES = 65_536  # at most; a piece is what has arrived


def first_audio_s(url: str, text: str, response_format: str) -> float:
    """Seconds until a sample of the reply is audible."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    body = json.dumps({"input": text, "voice": "alloy", "response_format": response_format})
    begin_s = time.perf_counter()
    connection.request("POST", "/v1/audio/speech", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()
    arrived: list[tuple[float, bytes]] = []
    while piece := reply.read1(READ_BYTES):
        arrived.append((time.perf_counter() - begin_s, piece))
    connection.close()
    data = b""
    for at_s, piece in arrived:
        data += piece
        if is_audible(data, response_format):
            return at_s
    raise AssertionError("the reply was silent")


def is_audible(data: bytes, response_format: str) -> bool:
    """Whether the beginning of a file contains an audible sample."""
    if response_format == "pcm":
        return bool(np.abs(np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(int)).max() > AUDIBLE * 32768)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=24_000)
    try:
        with av.open(io.BytesIO(data)) as file:
            for frame in file.decode(audio=0):
                if any(np.abs(part.to_ndarray()).max() > AUDIBLE for part in resampler.resample(frame)):
                    return True
    except (av.FFmpegError, IndexError):
        pass  # a player could not decode so little, either
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to first audible sample of a running server.")
    parser.add_argument("--url", default="http://127.0.0.1:8101")
    parser.add_argument("--requests", type=int, default=30)
    parser.add_argument("--formats", nargs="+", default=["pcm"])
    options = parser.parse_args()
    cold_s = first_audio_s(options.url, TEXT, options.formats[0])
    print(f"first request {cold_s:.2f} s")
    times_ms: dict[str, list[float]] = {name: [] for name in options.formats}
    for _ in range(options.requests):
        for name, times in times_ms.items():
            times.append(1000 * first_audio_s(options.url, TEXT, name))
    for name, times in times_ms.items():
        p95 = sorted(times)[int(0.95 * (len(times) - 1))]
        print(f"{name:5} median {statistics.median(times):.0f} ms, p95 {p95:.0f} ms")


if __name__ == "__main__":
    main()
