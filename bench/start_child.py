"""The child process of `bench.start`: one utterance, and a line of JSON with its first audio.

    python -m bench.start_child ours|qwen-tts FOLDER FRAMES DTYPE

It imports only what the engine itself imports.
"""

import json
import sys
import time

BEGIN_S = time.perf_counter()


def main() -> None:
    side, folder, frames, dtype = sys.argv[1:]
    speak = {"ours": ours, "qwen-tts": qwen_tts}[side]
    speak(folder, int(frames), dtype)


def ours(folder: str, frames: int, dtype: str) -> None:
    from bench.utterances import begin, hang_up
    from speech_engines.qwen3_tts.factory import create_engine
    from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE

    environment = {"MODEL_ID": folder, "DEVICE": "cpu", "DTYPE": dtype, "MAX_BATCH": "1", "RUNAWAY_GUARD": "off"}
    engine = create_engine(QWEN3_TTS_CUSTOM_VOICE, environment)
    loaded_s = time.perf_counter()
    sink = begin(engine, frames)
    sink.wait_heard()
    heard(loaded_s)
    hang_up([sink])
    engine.close()


def qwen_tts(folder: str, frames: int, dtype: str) -> None:
    import torch
    from qwen_tts import Qwen3TTSModel

    from bench.utterances import TEXT

    model = Qwen3TTSModel.from_pretrained(folder, dtype=getattr(torch, dtype), device_map="cpu")
    loaded_s = time.perf_counter()
    # A token's frame is generated in the following step, so the last token has none.
    waves, _ = model.generate_custom_voice(text=TEXT, speaker="ryan", language="auto", max_new_tokens=frames + 1)
    heard(loaded_s)
    assert len(waves[0]) == frames * 1920, len(waves[0])


def heard(loaded_s: float) -> None:
    now_s = time.perf_counter()
    account = {"load_s": round(loaded_s - BEGIN_S, 3), "speak_s": round(now_s - loaded_s, 3)}
    sys.stdout.write(json.dumps(account) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
