"""Requests of browser pages, by origin and host name. Refusals need no Triton."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from openai_frontend.app import create_app
from tests.support.replies import check
from tests.support.stack import Frontend, GivenSettings

LISTED, OTHER = "https://app.example", "https://elsewhere.example"
# Of every method that changes state or costs compute: what a request that passes is answered.
VOICE = "/v1/audio/voices/voice_00000000000000000000000000000000"
PASSED = (404, "voice_not_found")


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., Frontend]]:
    """`start(**settings)`: a frontend without a Triton, stopped at the end of the module."""
    running: list[Frontend] = []

    def begin(**settings: Any) -> Frontend:
        running.append(Frontend(triton_url="http://127.0.0.1:9", **settings).__enter__())
        return running[-1]

    yield begin
    for frontend in running:
        frontend.__exit__()


@pytest.fixture(scope="module")
def frontend(start: Callable[..., Frontend]) -> Frontend:
    return start(cors_origins=LISTED)


def delete(frontend: Frontend, headers: dict[str, str]) -> tuple[int, str]:
    reply = httpx2.delete(frontend.url + VOICE, headers=headers)
    return reply.status_code, reply.json()["error"]["code"]


def state_changing_routes() -> set[tuple[str, str]]:
    paths = create_app(GivenSettings()).openapi()["paths"]
    shown = {(method, path) for path, methods in paths.items() for method in methods if method != "get"}
    return shown | {(method, path.removeprefix("/v1")) for method, path in shown}


@pytest.mark.parametrize(("method", "path"), sorted(state_changing_routes()))
def test_a_page_of_another_origin_changes_nothing_and_speaks_nothing(
    frontend: Frontend, method: str, path: str
) -> None:
    reply = httpx2.request(method, frontend.url + path, headers={"Origin": OTHER}, files={"name": ("a", b"a")})
    assert "CORS_ORIGINS" in check(reply, 403, None, "origin_not_allowed")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"},
        {"Sec-Fetch-Site": "cross-site", "Origin": OTHER},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://[::1"},
        {"Origin": OTHER, "X-Forwarded-Host": "tts.example"},
    ],
    ids=str,
)
def test_a_request_is_refused_where_the_browser_says_that_another_site_sent_it(
    frontend: Frontend, headers: dict[str, str]
) -> None:
    assert delete(frontend, headers) == (403, "origin_not_allowed")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": OTHER},  # behind a proxy, whose name the page has
        {"Sec-Fetch-Site": "cross-site", "Origin": LISTED},
        {"Origin": LISTED},
        {"Origin": "https://tts.example", "X-Forwarded-Host": "tts.example"},
        {"Origin": "https://tts.example", "X-Forwarded-Host": "tts.example:443, inner"},
    ],
    ids=str,
)
def test_programs_the_servers_own_page_and_listed_origins_pass(frontend: Frontend, headers: dict[str, str]) -> None:
    assert delete(frontend, headers) == PASSED


def test_the_servers_own_page_passes_in_a_browser_that_sends_no_fetch_metadata(frontend: Frontend) -> None:
    assert delete(frontend, {"Origin": frontend.url}) == PASSED
    assert delete(frontend, {"Origin": frontend.url.replace("127.0.0.1", "localhost")}) == (403, "origin_not_allowed")


def test_what_another_origin_only_reads_is_left_to_the_browser(frontend: Frontend) -> None:
    reply = httpx2.get(f"{frontend.url}/v1/models", headers={"Origin": OTHER, "Sec-Fetch-Site": "cross-site"})
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers


HOSTS = ("localhost", "LocalHost.:8101", "tts.localhost", "127.0.0.1", "127.1.2.3:8101", "[::1]", "[::1]:8101")
FOREIGN = (
    "elsewhere.example",
    "127.0.0.1.elsewhere.example:8101",
    "localhost.example",
    "192.168.1.5",
    "[2001:db8::1]:80",
)


@pytest.mark.parametrize("host", HOSTS)
def test_on_loopback_its_own_names_and_addresses_are_answered(frontend: Frontend, host: str) -> None:
    assert httpx2.get(f"{frontend.url}/v1/audio/voices", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_on_loopback_a_foreign_host_name_is_refused_for_every_request(frontend: Frontend, host: str) -> None:
    for method, path in (("GET", "/v1/audio/voices"), ("GET", "/"), ("DELETE", VOICE)):
        reply = httpx2.request(method, frontend.url + path, headers={"Host": host, "Sec-Fetch-Site": "same-origin"})
        assert "ALLOWED_HOSTS" in check(reply, 421, None, "host_not_allowed")


def asked(frontend: Frontend, host: str) -> int:
    return httpx2.get(f"{frontend.url}/live", headers={"Host": host}).status_code


def test_a_server_for_other_machines_answers_to_any_name_as_containers_and_probes_need(
    start: Callable[..., Frontend],
) -> None:
    frontend = start(host="0.0.0.0")
    assert {asked(frontend, host) for host in (*HOSTS, *FOREIGN)} == {200}


def test_allowed_hosts_are_answered_beside_loopback_and_no_others(start: Callable[..., Frontend]) -> None:
    frontend = start(allowed_hosts="TTS.example:443, *.lan")
    assert {asked(frontend, host) for host in ("tts.example", "TTS.example:443", "nas.lan", "localhost")} == {200}
    assert {asked(frontend, host) for host in ("a.tts.example", "lan", "nas.lan.example", "192.168.1.5")} == {421}
    assert asked(start(allowed_hosts="*"), "elsewhere.example") == 200


def test_with_allowed_hosts_probes_and_scrapers_still_reach_a_container_by_its_address(
    start: Callable[..., Frontend],
) -> None:
    frontend = start(host="0.0.0.0", allowed_hosts="tts.example")
    assert {asked(frontend, host) for host in ("10.1.2.3:8101", "[fd00::1]:8101", "tts.example")} == {200}
    assert asked(frontend, "elsewhere.example") == 421


JSON_ROUTES = ("/v1/audio/speech", "/audio/speech", "/v1/audio/voices", "/v1/audio/voice_consents/cons_1")


@pytest.mark.parametrize("path", JSON_ROUTES)
@pytest.mark.parametrize("kind", ["text/plain", "text/plain;charset=utf-8", "application/octet-stream", ""])
def test_json_that_is_not_declared_as_json_is_a_415_that_says_what_to_send(
    frontend: Frontend, path: str, kind: str
) -> None:
    body = b'{"input": "Hello.", "name": "Anna", "type": "prompt", "prompt": "Old."}'
    reply = httpx2.post(frontend.url + path, content=body, headers={"Content-Type": kind} if kind else {})
    assert "`Content-Type: application/json`" in check(reply, 415, None, "unsupported_media_type")


def test_what_curl_sends_by_default_is_named(frontend: Frontend) -> None:
    reply = httpx2.post(f"{frontend.url}/v1/audio/speech", data={'{"input": "Hello."}': ""})
    assert "curl -d" in check(reply, 415, None, "unsupported_media_type")
