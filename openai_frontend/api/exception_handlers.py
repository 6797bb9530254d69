"""Handles exceptions without another handler: logs them once, and answers with 500 if the reply has not begun."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openai_frontend.errors import ApiError, from_exception
from speech_protocol.errors import SpeechError


class FailureMiddleware:
    """Answers an unhandled exception with 500. If the reply has begun, it stays incomplete and the server closes the
    connection, so that the client can tell an incomplete stream from a complete one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_noted(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception as error:  # noqa: BLE001 - the outermost handler
            # The framework wraps errors that its handlers would have answered if the reply had not begun. The log line
            # of the speech request reports those.
            cause = error.__cause__ if begun and isinstance(error.__cause__, ApiError | SpeechError) else error
            failure = from_exception(cause)
            if not begun:
                await failure.to_response()(scope, receive, send)
