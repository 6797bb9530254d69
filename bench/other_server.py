"""A typical non-streaming server of the same voice behind OpenAI's route: one utterance at a time, synthesized whole,
then encoded, then sent.

python -m bench.other_server --port 8880
"""

import argparse
import io
import threading
import wave

import numpy as np
import uvicorn
from fastapi import FastAPI, Response
from hibari import Hibari
from pydantic import BaseModel


class Speech(BaseModel):
    input: str
    voice: str = "heart"
    response_format: str = "pcm"


def create_app() -> FastAPI:
    app = FastAPI()
    voice = Hibari("heart")
    voice("Ready.")
    one_at_a_time = threading.Lock()

    @app.post("/v1/audio/speech")
    def speech(request: Speech) -> Response:
        with one_at_a_time:
            sentences = [
                voice.from_phonemes(part)
                for sentence in voice.split_sentences(request.input)
                for part in voice.phonemize(sentence)
            ]
        pcm = (np.clip(np.concatenate(sentences), -1, 1) * 32_767).astype("<i2").tobytes()
        if request.response_format != "wav":
            return Response(pcm, media_type="audio/pcm")
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setparams((1, 2, 24_000, 0, "NONE", ""))
            out.writeframes(pcm)
        return Response(file.getvalue(), media_type="audio/wav")

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8880)
    uvicorn.run(create_app(), host="127.0.0.1", port=parser.parse_args().port, log_level="warning")
