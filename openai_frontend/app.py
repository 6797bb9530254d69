"""The composition root: builds every component once, in order of dependency, and closes them in reverse."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from openai_frontend import __version__, errors
from openai_frontend.api.auth import ApiKeys, KeyMiddleware
from openai_frontend.api.bodies.memory import BodyMemory, return_freed_memory
from openai_frontend.api.exception_handlers import FailureMiddleware
from openai_frontend.api.http_forms import AbsoluteTargetMiddleware, HeadMiddleware
from openai_frontend.api.middleware import BodyLimitMiddleware, RequestIdMiddleware
from openai_frontend.api.openapi import ERRORS
from openai_frontend.api.origins import HostMiddleware, OriginMiddleware, is_loopback
from openai_frontend.api.outcomes import Outcomes
from openai_frontend.api.refusals import ReplyMiddleware, Routes
from openai_frontend.api.routes import (
    admin,
    captions,
    cartesia,
    clone,
    consents,
    docs,
    health,
    models,
    page,
    resolve,
    speech,
    speech_stream,
    voices,
)
from openai_frontend.api.routes import metrics as metrics_route
from openai_frontend.api.state import State
from openai_frontend.api.uploads import UploadDecoder
from openai_frontend.models.capacity import ModelCapacity
from openai_frontend.models.facts import ModelFacts
from openai_frontend.models.lifecycle import Lifecycle
from openai_frontend.models.standby import WeightPinner
from openai_frontend.observability.metrics import Metrics
from openai_frontend.observability.tracing import make_tracer
from openai_frontend.settings import Settings
from openai_frontend.synthesis.admission import Admission
from openai_frontend.synthesis.fair_queue import FairQueue
from openai_frontend.synthesis.request import Synthesis, SynthesisOptions
from openai_frontend.thread_pools import Pools
from openai_frontend.transport.connections import Closed, Connections, Phase
from openai_frontend.voices.catalog import Catalog
from openai_frontend.voices.library import Library
from openai_frontend.wyoming.server import WyomingServer
from speech_client.stream import Supervision
from speech_client.triton import Triton

logger = logging.getLogger(__name__)

# Response headers that pages of other origins may read.
_EXPOSED: Final = ("x-request-id", "openai-processing-ms", "x-speech-warning", "retry-after")


def create_app(settings: Settings, connections: Connections | None = None) -> FastAPI:
    """The OpenAI API over one Triton. `connections` are the server's, for the metrics."""
    return_freed_memory()
    memory = BodyMemory(settings.max_body_memory)
    metrics = Metrics()
    metrics.prime({*settings.checkpoints(), *settings.model_names.values(), settings.main_model()})
    _measure(metrics, memory, connections)
    app = FastAPI(
        title="Triton Speech Server",
        version=__version__,
        lifespan=lambda app: _running(app, settings, metrics),
        redirect_slashes=False,
        responses=ERRORS,
        docs_url=None,  # the framework's own pages load scripts from a CDN
        redoc_url=None,
    )
    routes = _add_routes(app)
    errors.install(app)
    _add_middleware(app, settings, memory)
    app.add_middleware(ReplyMiddleware, routes=routes, metrics=metrics)
    app.add_middleware(AbsoluteTargetMiddleware)  # outermost: it sets the Host that others check
    return app


@asynccontextmanager
async def _running(app: FastAPI, settings: Settings, metrics: Metrics) -> AsyncGenerator[None, None]:
    """Every component with a lifetime."""
    logger.info("settings that differ from their defaults: %s", settings.model_dump(exclude_defaults=True))
    async with (
        Triton(settings.triton_url, settings.load_timeout, settings.control_key()) as triton,
        WeightPinner(settings.standby_checkpoints()),
    ):
        state = _build(settings, metrics, triton)
        app.state.speech = state
        timer = asyncio.create_task(state.lifecycle.run_timer())
        try:
            async with _wyoming(settings, state):
                yield
        finally:
            timer.cancel()
            with suppress(asyncio.CancelledError):
                await timer
            await state.lifecycle.aclose(unload=settings.unload_on_stop)
            await state.uploads.aclose()
            state.pools.close()
            await asyncio.to_thread(state.synthesis.tracer.close)


@asynccontextmanager
async def _wyoming(settings: Settings, state: State) -> AsyncGenerator[None, None]:
    """The server of the Wyoming protocol, if it has a port."""
    if not settings.wyoming_port:
        yield
        return
    async with WyomingServer(state, settings.host, settings.wyoming_port, settings.max_pending_requests):
        yield


def _build(settings: Settings, metrics: Metrics, triton: Triton) -> State:
    facts = ModelFacts(settings.checkpoints(), settings.unavailable_models, lambda: triton.last_index)
    lifecycle = Lifecycle(
        triton,
        settings.idle_timeout,
        capacity=ModelCapacity(settings.max_loaded_models, int(settings.gpu_memory_budget_gb * 2**30), facts.gpu_bytes),
        keep=settings.kept(),
        restart_timeout_s=settings.restart_timeout,
        start_timeout_s=settings.start_timeout,
        switch_timeout_s=settings.queue_timeout or math.inf,
        metrics=metrics,
    )
    fair_queue = FairQueue(settings.active_limit(), settings.queue_timeout)
    admission = Admission(settings.max_pending_requests, fair_queue, shares_by_key=len(settings.keys()) > 1)
    pools = Pools()
    synthesis = Synthesis(
        *(triton, lifecycle, admission, Supervision(lifecycle, settings.request_timeout, facts.record)),
        *(metrics, make_tracer(settings.otel_exporter_otlp_endpoint), pools),
        SynthesisOptions(settings.text_cleanup == "markdown", settings.max_leading_silence, settings.live_append),
    )
    library = Library.from_settings(settings)
    return State(
        settings=settings,
        library=library,
        catalog=Catalog(settings, library),
        triton=triton,
        lifecycle=lifecycle,
        admission=admission,
        uploads=UploadDecoder(admission, settings.max_upload_bytes),
        synthesis=synthesis,
        metrics=metrics,
        pools=pools,
        facts=facts,
        outcomes=Outcomes(),
        control_key=settings.control_key(),
        has_keys=bool(settings.keys()),
    )


def _add_routes(app: FastAPI) -> Routes:
    """Add every router and folder; returns the path templates for counting replies."""
    versioned = (
        speech.router,
        speech_stream.router,
        clone.router,
        resolve.router,
        models.router,
        voices.router,
        consents.router,
    )
    others = (
        captions.router,
        cartesia.router,
        health.router,
        metrics_route.router,
        admin.router,
        page.router,
        docs.router,
    )
    for router in versioned:
        app.include_router(router, prefix="/v1")
        # Some clients take the base URL without /v1.
        app.include_router(router, include_in_schema=False)
    for router in others:
        app.include_router(router)
    app.mount("/static", page.static)
    app.mount("/docs/assets", docs.assets)
    return Routes((*_paths(versioned, "/v1"), *_paths(others), "/static/{file:path}", "/docs/assets/{file:path}"))


def _add_middleware(app: FastAPI, settings: Settings, memory: BodyMemory) -> None:
    """The innermost first: a request passes them from the last one to the first."""
    largest_bytes = min(settings.max_body_bytes, memory.largest_body_bytes)
    app.add_middleware(BodyLimitMiddleware, limit_bytes=largest_bytes, memory=memory)
    api_keys = ApiKeys(settings.keys(), settings.requests_per_minute, settings.characters_per_minute)
    app.add_middleware(KeyMiddleware, api_keys=api_keys, open_lists=settings.open_lists)
    origins = settings.origins()
    app.add_middleware(OriginMiddleware, allowed=origins)
    app.add_middleware(HostMiddleware, allowed=settings.hosts(), loopback=is_loopback(settings.host))
    app.add_middleware(FailureMiddleware)
    app.add_middleware(RequestIdMiddleware)
    app.add_middleware(HeadMiddleware)
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"], expose_headers=_EXPOSED
        )


def _paths(routers: Iterable[APIRouter], prefix: str = "") -> list[str]:
    return [prefix + route.path for router in routers for route in router.routes if isinstance(route, APIRoute)]


def _measure(metrics: Metrics, memory: BodyMemory, connections: Connections | None) -> None:
    metrics.body_bytes.set_function(lambda: memory.held_bytes)
    if connections is not None:
        for phase in Phase:
            metrics.connections.labels(phase).set_function(partial(connections.count, phase))
        for reason in Closed:
            metrics.closed_connections.labels(reason)  # counted from 0
        connections.report = lambda reason: metrics.closed_connections.labels(reason).inc()
