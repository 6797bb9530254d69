"""From an unloaded model to first audio, the whole stack: weights on the disk, or held in memory (WARM_STANDBY).

    python -m bench.standby --checkpoint models/stand-in-0.6b [--rounds 3]

Before each request the model is unloaded and the system's page cache dropped, which needs root; pages locked in memory
stay there.
"""

import asyncio
import os
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

import aiohttp

from bench import report
from bench.stack import Running, our_stack

MODEL = "qwen3_tts_custom_voice"
TIMEOUT_S = 300


def main() -> None:
    options = report.parser(__doc__, "standby", frames=5, rounds=3)
    options = options.parse_args()
    engine = {"CUSTOM_VOICE_MODEL_ID": str(options.checkpoint.resolve()), "HF_HUB_OFFLINE": "1"}
    times_s: dict[str, list[float]] = {"disk": [], "memory": []}
    with tempfile.TemporaryDirectory() as folder:
        for name, standby in (("disk", ""), ("memory", MODEL)):
            settings = {"IDLE_TIMEOUT": 0, "ADMIN_KEY": "bench", "WARM_STANDBY": standby}
            with our_stack(Path(folder), engine, **settings) as ours:
                for _ in range(options.rounds + 1):  # the first one is discarded
                    drop_caches()
                    times_s[name].append(asyncio.run(first_audio_s(ours, options.frames)))
                    unload(ours)
    numbers = {f"{name}_s": statistics.median(each[1:]) for name, each in times_s.items()}
    report.write(options, numbers, times_s)
    print(report.table(("figure", "value"), numbers.items()))


async def first_audio_s(ours: Running, frames: int) -> float:
    body = {"model": "tts-1", "input": "Hello there.", "response_format": "pcm", "max_new_tokens": frames}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        begin_s = time.perf_counter()
        async with session.post(f"{ours.url}/v1/audio/speech", json=body) as reply:
            assert reply.status == 200, await reply.text()
            await reply.content.readany()
            took_s = time.perf_counter() - begin_s
            await reply.read()
    return took_s


def drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def unload(ours: Running) -> None:
    headers = {"Authorization": "Bearer bench"}
    request = urllib.request.Request(f"{ours.url}/admin/models/{MODEL}/unload", b"", headers)
    urllib.request.urlopen(request, timeout=60).close()
    time.sleep(2)  # its process ends


if __name__ == "__main__":
    main()
