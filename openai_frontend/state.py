"""What one running frontend holds; built by the composition root, handed to routes by FastAPI."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from openai_frontend.admission import Admission
from openai_frontend.lifecycle import Lifecycle
from openai_frontend.metrics import Metrics
from openai_frontend.model_facts import ModelFacts
from openai_frontend.outcomes import Outcomes
from openai_frontend.settings import Settings
from openai_frontend.synthesis import Synthesis
from openai_frontend.triton import Triton
from openai_frontend.voices.catalog import Catalog
from openai_frontend.voices.library import Library


@dataclass(frozen=True, slots=True)
class State:
    settings: Settings
    library: Library
    catalog: Catalog
    triton: Triton
    lifecycle: Lifecycle
    admission: Admission
    synthesis: Synthesis
    metrics: Metrics
    facts: ModelFacts
    outcomes: Outcomes


def _state(request: Request) -> State:
    return cast(State, request.app.state.speech)


def _request_id(request: Request) -> str:
    return cast(str, request.state.request_id)


CurrentState = Annotated[State, Depends(_state)]
RequestId = Annotated[str, Depends(_request_id)]
