"""LiveKit agents' Cartesia plugin, streaming: livekit_cartesia.py BASE_URL VOICE TEXT FILE. Writes PCM, prints JSON."""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
from livekit.plugins import cartesia


async def main(base_url: str, voice: str, text: str, file: str) -> None:
    async with aiohttp.ClientSession() as session:
        tts = cartesia.TTS(base_url=base_url, voice=voice, api_key="unused", language="en", http_session=session)
        stream = tts.stream()
        for word in text.split():
            stream.push_text(word + " ")
        stream.end_input()
        frames, words = [], []
        async for audio in stream:
            frames.append(audio.frame)
            words += [str(each).strip() for each in audio.frame.userdata.get("lk.timed_transcripts", [])]
        await stream.aclose()
        await tts.aclose()
    Path(file).write_bytes(b"".join(bytes(frame.data) for frame in frames))
    print(json.dumps({"rates_hz": sorted({frame.sample_rate for frame in frames}), "words": words}))


asyncio.run(main(*sys.argv[1:]))
