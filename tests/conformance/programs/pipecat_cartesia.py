"""Pipecat's Cartesia service in a pipeline: pipecat_cartesia.py URL VOICE TEXT FILE. Writes PCM, prints JSON."""

import asyncio
import json
import sys
from pathlib import Path

from pipecat.frames.frames import EndFrame, ErrorFrame, TTSAudioRawFrame, TTSSpeakFrame, TTSTextFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.cartesia.tts import CartesiaTTSService


class Ear(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.audio = []
        self.words = []
        self.errors = []

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.audio.append(frame)
        if isinstance(frame, TTSTextFrame):
            self.words.append(frame.text)
        if isinstance(frame, ErrorFrame):
            self.errors.append(str(frame.error))
        await self.push_frame(frame, direction)


async def main(url: str, voice: str, text: str, file: str) -> None:
    settings = CartesiaTTSService.Settings(voice=voice)
    tts = CartesiaTTSService(api_key="unused", url=url, sample_rate=24000, settings=settings)
    ear = Ear()
    task = PipelineTask(Pipeline([tts, ear]), params=PipelineParams(audio_out_sample_rate=24000))
    await task.queue_frames([TTSSpeakFrame(text), EndFrame()])
    await PipelineRunner(handle_sigint=False).run(task)
    Path(file).write_bytes(b"".join(frame.audio for frame in ear.audio))
    rates = sorted({frame.sample_rate for frame in ear.audio})
    print(json.dumps({"rates_hz": rates, "words": ear.words, "errors": ear.errors}))


asyncio.run(main(*sys.argv[1:]))
