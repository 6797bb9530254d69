"""Text that is appended to an utterance in flight."""

import asyncio
from dataclasses import replace
from typing import Final

from openai_frontend.synthesis.live import Piece
from openai_frontend.synthesis.segments import segment_seed
from speech_client.stream import SpeechStream, Supervision
from speech_client.triton import Triton
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.request import MAX_ADDED_CHARS, SpeechRequest, StreamAction

_TIMEOUT_S: Final = 10.0


class Appending:
    """Opens the utterances of a request and appends text to them. The request has a seed."""

    def __init__(self, triton: Triton, supervision: Supervision, model: str, request: SpeechRequest) -> None:
        self._triton, self._model, self._request = triton, model, request
        # A retry would not have the appended text.
        self._supervision = replace(supervision, retries=False)

    def open(self, number: int, begin: str, stream_id: str) -> SpeechStream:
        """Start the segment with that number and beginning."""
        seed = segment_seed(self._request.seed or 0, number)
        request = replace(
            self._request, text=begin.lstrip(), seed=seed, stream_id=stream_id, stream_action=StreamAction.OPEN
        )
        return SpeechStream(self._triton, self._model, request, self._supervision, may_wait=number > 0)

    async def append(self, stream_id: str, piece: Piece) -> None:
        """Append to an utterance whose first audio has arrived. Raises SpeechError."""
        parts = [piece.text[at : at + MAX_ADDED_CHARS] for at in range(0, len(piece.text), MAX_ADDED_CHARS)] or [""]
        for number, part in enumerate(parts, 1):
            is_last = piece.final and number == len(parts)
            action = StreamAction.CLOSE if is_last else StreamAction.APPEND
            await self._send(SpeechRequest(part, stream_id=stream_id, stream_action=action))

    async def _send(self, request: SpeechRequest) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                async for _ in self._triton.speak(self._model, request):
                    pass
        except TimeoutError:
            message = f"The model did not take more text within {_TIMEOUT_S:g} s. Send the request again."
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message) from None
