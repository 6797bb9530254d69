"""A frontend on a real socket with a fake Triton, for most tests of the frontend, without a tritonserver."""

from pathlib import Path
from typing import Any, Final, Self

from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.languages import AUTO, LANGUAGES
from speech_protocol.models import ALIGNER, HIBARI, QWEN3_TTS
from speech_protocol.speakers import HIBARI_DEFAULT, hibari_speaker
from tests.support.fake_models import Tensors
from tests.support.fake_triton import FakeTriton
from tests.support.stack import Frontend

_S_PER_CHARACTER: Final = 0.06
_STARTS: Final = {
    HIBARI.name: {"languages": ("english",), "speakers": (HIBARI_DEFAULT,)},
    **{spec.name: {"languages": LANGUAGES} for spec in QWEN3_TTS},
}


def _check_hibari(model: str, tensors: Tensors) -> SpeechError | None:
    """What the embedded voice refuses."""
    if model != HIBARI.name:
        return None
    if hibari_speaker(speaker := tensors.get("SPEAKER"), (HIBARI_DEFAULT,)) is None:
        message = f"'{speaker}' is not a speaker of hibari. Use one of: {HIBARI_DEFAULT}."
        return SpeechError(ErrorCode.UNKNOWN_SPEAKER, message, "speaker")
    if tensors.get("LANGUAGE", AUTO) not in (AUTO, "english"):
        return SpeechError(ErrorCode.UNSUPPORTED_LANGUAGE, "hibari speaks English only.", "language")
    return None


class FakeStack:
    """Our models and the scripted one on a fake Triton, and a frontend before it; the same surface as `Stack`."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.triton = FakeTriton(*_STARTS, ALIGNER.name, "scripted", s_per_character=_S_PER_CHARACTER)
        self.triton.starts.update(_STARTS)
        self.triton.check = _check_hibari
        names = {"scripted": "scripted", **settings.pop("model_names", {})}
        settings = {"voices_folder": str(folder / "voices"), **settings}
        self.frontend = Frontend(triton_url=self.triton.url, model_names=names, **settings)

    def __enter__(self) -> Self:
        self.triton.__enter__()
        try:
            self.frontend.__enter__()
        except BaseException:
            self.triton.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.frontend.__exit__()
        finally:
            self.triton.__exit__()

    def script_log(self) -> list[str]:
        """What the scripted model has written so far."""
        return list(self.triton.scripts.log)
