"""Pipecat's OpenAI service in a pipeline: pipecat_speak.py BASE_URL VOICE TEXT FILE. Writes PCM, prints JSON."""

import asyncio
import json
import sys
from pathlib import Path

from pipecat.frames.frames import EndFrame, ErrorFrame, TTSAudioRawFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.tts import OpenAITTSService


class Ear(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.audio = []
        self.errors = []

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.audio.append(frame)
        if isinstance(frame, ErrorFrame):
            self.errors.append(str(frame.error))
        await self.push_frame(frame, direction)


async def main(base_url: str, voice: str, text: str, file: str) -> None:
    settings = OpenAITTSService.Settings(voice=voice)
    tts = OpenAITTSService(api_key="unused", base_url=base_url, sample_rate=24000, settings=settings)
    ear = Ear()
    task = PipelineTask(Pipeline([tts, ear]), params=PipelineParams(audio_out_sample_rate=24000))
    await task.queue_frames([TTSSpeakFrame(text), EndFrame()])
    await PipelineRunner(handle_sigint=False).run(task)
    Path(file).write_bytes(b"".join(frame.audio for frame in ear.audio))
    rates = sorted({frame.sample_rate for frame in ear.audio})
    print(json.dumps({"rates_hz": rates, "frames": len(ear.audio), "errors": ear.errors}))


asyncio.run(main(*sys.argv[1:]))
