"""Calls from pages of other origins, as a browser makes them."""

import httpx2
import pytest

from tests.support.fake_stack import FakeStack
from tests.support.stack import Frontend

LISTED, OTHER = "https://app.example", "https://elsewhere.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.mark.parametrize(("origin", "allowed"), [(LISTED, LISTED), (OTHER, None)])
def test_a_page_of_another_origin_may_call_only_where_it_is_listed(
    stack: FakeStack, origin: str, allowed: str | None
) -> None:
    settings = {
        "default_model": "hibari",
        "idle_timeout": 0,
        "api_keys": "sk-1",
        "cors_origins": f"{LISTED}/, https://x",
    }
    with Frontend(triton_url=stack.triton.url, **settings) as frontend:
        url = f"{frontend.url}/v1/audio/speech"
        # A browser sends no key with its question.
        asked = httpx2.options(url, headers={"Origin": origin, **PREFLIGHT})
        assert asked.headers.get("access-control-allow-origin") == allowed
        headers = {"Origin": origin, "Authorization": "Bearer sk-1"}
        reply = httpx2.post(url, json={"input": "Hello."}, headers=headers, timeout=60)
        assert reply.headers.get("access-control-allow-origin") == allowed
        assert reply.headers["x-content-type-options"] == "nosniff"
        if allowed:
            assert "x-request-id" in reply.headers["access-control-expose-headers"]


def test_without_the_setting_no_origin_is_let_in(stack: FakeStack) -> None:
    reply = httpx2.get(f"{stack.frontend.url}/v1/models", headers={"Origin": LISTED})
    assert "access-control-allow-origin" not in reply.headers
