"""The parts of a running frontend; built in app.py, injected into routes by FastAPI."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Request

from openai_frontend.api.outcomes import Outcomes
from openai_frontend.api.uploads import UploadDecoder
from openai_frontend.models.facts import ModelFacts
from openai_frontend.models.lifecycle import Lifecycle
from openai_frontend.observability.metrics import Metrics
from openai_frontend.settings import Settings
from openai_frontend.synthesis.admission import Admission
from openai_frontend.synthesis.request import Synthesis
from openai_frontend.thread_pools import Pools
from openai_frontend.voices.catalog import Catalog, Target
from openai_frontend.voices.library import Library
from speech_client.triton import Triton
from speech_protocol.models import Task


@dataclass(frozen=True, slots=True)
class State:
    """The components of a frontend, as routes need them."""

    settings: Settings
    library: Library
    catalog: Catalog
    triton: Triton
    lifecycle: Lifecycle
    admission: Admission
    uploads: UploadDecoder
    synthesis: Synthesis
    metrics: Metrics
    pools: Pools
    facts: ModelFacts
    outcomes: Outcomes
    control_key: str
    has_keys: bool

    async def resolve(
        self, model: str | None, voice: str | None, task: Task | None = None, *, owner: str | None = None
    ) -> Target:
        """`Catalog.resolve`, in a thread if it has to read the voice library."""
        if self.catalog.is_built_in(voice) or (voice is None and task is Task.CLONE):
            return self.catalog.resolve(model, voice, task, owner=owner)
        return await self.pools.reading.run(partial(self.catalog.resolve, owner=owner), model, voice, task)


def _state(request: Request) -> State:
    return cast(State, request.app.state.speech)


def _request_id(request: Request) -> str:
    return cast(str, request.state.request_id)


CurrentState = Annotated[State, Depends(_state)]
RequestId = Annotated[str, Depends(_request_id)]
