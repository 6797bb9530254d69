"""LiveKit agents' OpenAI plugin: livekit_speak.py BASE_URL MODEL TEXT FILE. Writes PCM, prints what it is, as JSON."""

import asyncio
import json
import sys
from pathlib import Path

from livekit.plugins import openai


async def main(base_url: str, model: str, text: str, file: str) -> None:
    tts = openai.TTS(model=model, voice="ash", base_url=base_url, api_key="unused")
    request_ids = set()
    frames = []
    async with tts.synthesize(text) as stream:
        async for audio in stream:
            request_ids.add(audio.request_id)
            frames.append(audio.frame)
    await tts.aclose()
    Path(file).write_bytes(b"".join(bytes(frame.data) for frame in frames))
    rates = {frame.sample_rate for frame in frames}
    print(json.dumps({"rates_hz": sorted(rates), "requests": sorted(request_ids), "frames": len(frames)}))


asyncio.run(main(*sys.argv[1:]))
