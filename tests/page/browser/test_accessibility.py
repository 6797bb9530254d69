"""Accessibility: axe-core finds nothing in any state; keyboard, small screens, forced colours, reduced motion."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.support import npm
from tests.support.fake_triton import FakeTriton
from tests.support.page import ESCAPE, TAB, Page
from tests.support.stack import Frontend

LOOKS: Final = {
    "light": {"prefers_color_scheme": "light"},
    "dark": {"prefers_color_scheme": "dark"},
    "forced colours": {"forced_colors": "active"},
}
# WCAG 2.2 AA and the rules of good practice. Forced colours are the user's own: their contrast is not the page's.
_AXE: Final = """
    const done = arguments[arguments.length - 1];
    const rules = arguments[0] ? { "color-contrast": { enabled: false } } : {};
    const say = ({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`;
    axe.run(document, { rules }).then(
        ({ violations }) => done(violations.map(say)),
        (error) => done([String(error)]),
    );
"""
Check = Callable[[str], None]


@pytest.fixture(scope="session")
def axe() -> str:
    folder = npm.installed(Path(__file__).parent / "package.json")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def finds_nothing(page: Page, axe: str, look: str) -> Check:
    """`finds_nothing(state)`: axe-core reports nothing in the page's current state."""
    page.emulate(**LOOKS[look])
    page.run(axe)

    def check(state: str) -> None:
        found = page.browser.execute_async_script(_AXE, look == "forced colours")
        assert found == [], f"{state}, {look}"

    return check


def test_axe_finds_nothing_in_any_state_of_the_player(page: Page, triton: FakeTriton, finds_nothing: Check) -> None:
    finds_nothing("at first")
    gate = uuid.uuid4().hex
    page.write("text", json.dumps({"chunks": None, "hold": gate}))
    page.click("speak")
    page.comes_to("speaking")
    finds_nothing("while it is made")
    page.click("speak")
    triton.release(gate)  # so that the model learns that it was stopped
    page.waits_for(lambda: page.all(".result"), "there is a result")
    finds_nothing("stopped, with a result")
    page.click("download")
    finds_nothing("with the formats")
    page.press(ESCAPE)
    page.click("models-open")
    page.waits_for(lambda: page.all("#models-list li"), "the models are listed")
    finds_nothing("with the models")
    page.press(ESCAPE)
    page.click_on(page.css("details summary"))
    page.write("text", " ")
    page.click("speak")
    page.comes_to("error")
    finds_nothing("with an error and all settings")
    page.write("search", "nobody")
    finds_nothing("with no voice found")


def test_axe_finds_nothing_in_any_dialog(page: Page, frontend: Frontend, finds_nothing: Check) -> None:
    ids = []
    for name in ("Dora", "Emil"):
        body = {"type": "prompt", "name": name, "prompt": "Old and kind.", "language": "english"}
        ids.append(httpx2.post(f"{frontend.url}/v1/audio/voices", json=body).json()["id"])
    try:
        page.run("document.getElementById('model').dispatchEvent(new Event('change', { bubbles: true }))")
        page.waits_for(lambda: "Dora" in page.voices(), "there are voices")
        for dialog in ("clone", "describe", "blend", "code", "key"):
            page.click(f"{dialog}-open")
            if dialog == "clone":
                page.click("clone-keep")
                page.run("document.getElementById('consent').hidden = false")
            finds_nothing(f"the dialog {dialog}")
            page.press(ESCAPE)
        page.choose_voice("Dora")
        page.click_on(page.css("[aria-label='Rename Dora']"))
        finds_nothing("the question for a name")
        page.press(ESCAPE)
        page.click_on(page.css("[aria-label='Delete Dora']"))
        finds_nothing("the question before a delete")
    finally:
        for voice_id in ids:
            httpx2.delete(f"{frontend.url}/v1/audio/voices/{voice_id}")


def test_names_for_screen_readers_are_distinct(page: Page) -> None:
    page.speak("Hello.")
    page.waits_for(lambda: page.all(".result"), "there is a result")
    names = page.run("""
        const kinds = "main button, main select, main textarea, main input, .player button, header button";
        const name = (it) => it.ariaLabel || it.labels?.[0]?.textContent.trim() || it.textContent.trim();
        return [...document.querySelectorAll(kinds)].map(name);
    """)
    assert all(names)
    assert len(set(names)) == len(names)
    assert page["status"].get_attribute("role") == "status"
    assert page.run("return getComputedStyle(document.getElementById('clock')).display") == "none" or page[
        "clock"
    ].get_attribute("aria-hidden")


def test_everything_is_done_with_the_keyboard_alone(page: Page, triton: FakeTriton) -> None:
    reached = []
    for _ in range(60):
        page.press(TAB)
        reached.append(page.focused())
        if reached[-1] == "code-open":
            break
    wanted = ["models-open", "key-open", "text", "instructions", "language", "speed", "clone-open", "search", "speak"]
    assert [name for name in wanted if name not in reached] == []
    assert len(reached) < 45, "one stop for all cards and their buttons"
    page.run("document.querySelector('#voices input:checked').focus()")
    page.press("\ue015")  # arrow down: the next voice
    page.press(TAB)
    label = page.run("return document.activeElement.ariaLabel")
    assert label == "Play a sample of Serena"
    page.press("\ue00d")
    page.waits_for(lambda: triton.requests, "the sample is made")


@pytest.mark.parametrize("width", [320, 375, 768])
def test_a_small_screen_needs_no_sideways_scrolling_and_shows_the_player_always(page: Page, width: int) -> None:
    page.emulate(width, 640)
    page.speak("Hello.")
    page.waits_for(lambda: page.all(".result"), "there is a result")
    for place in ("0", "document.body.scrollHeight"):
        page.run(f"scrollTo(0, {place})")
        inside, wide = page.run("""
            const fits = (id) => {
                const { left, right, top, bottom } = document.getElementById(id).getBoundingClientRect();
                return left >= 0 && right <= innerWidth && top >= 0 && bottom <= innerHeight;
            };
            const { scrollWidth, clientWidth } = document.documentElement;
            return [["speak", "play", "timeline", "download", "code-open"].every(fits), scrollWidth - clientWidth];
        """)
        assert inside
        assert wide <= 0
    cut = page.run("""
        const isCut = (it) => it.clientWidth && it.scrollWidth > it.clientWidth + 1;
        return [...document.querySelectorAll("button")].filter(isCut).map((it) => it.outerHTML);
    """)
    assert cut == []


def test_what_has_the_focus_is_not_hidden_by_the_player(page: Page) -> None:
    page.emulate(375, 640)
    hidden = []
    for _ in range(40):
        page.press(TAB)
        box = page.run("""
            const it = document.activeElement;
            const { top, bottom } = it.getBoundingClientRect();
            return it.closest(".player") || it === document.body ? null : [top, bottom, it.outerHTML];
        """)
        above = page.run("return document.querySelector('.player').getBoundingClientRect().top")
        if box and box[0] >= above:
            hidden.append(box)
    assert hidden == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_borders_of_controls_have_a_contrast_of_three_to_one(page: Page, scheme: str) -> None:
    page.emulate(prefers_color_scheme=scheme)
    ratios: dict[str, Any] = page.run("""
        const light = (colour) => {
            const [red, green, blue] = colour.match(/[\\d.]+/g).map((part) => part / 255)
                .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        };
        const ground = (it) => {
            for (let at = it; at; at = at.parentElement) {
                const colour = getComputedStyle(at).backgroundColor;
                if (!/, 0\\)$/.test(colour)) return colour;
            }
        };
        const ratio = (it) => {
            const [one, other] = [light(getComputedStyle(it).borderTopColor), light(ground(it.parentElement))];
            return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        };
        const fields = ["text", "search", "instructions", "language", "play", "clone-open", "pause-mark", "wave"];
        return Object.fromEntries(fields.map((id) => [id, ratio(document.getElementById(id))]));
    """)
    assert {name: ratio for name, ratio in ratios.items() if ratio < 3} == {}


def test_nothing_moves_by_itself_where_less_motion_is_wanted(page: Page, triton: FakeTriton) -> None:
    page.emulate(prefers_reduced_motion="reduce")
    gate = uuid.uuid4().hex
    page.write("text", json.dumps({"chunks": None, "hold": gate}))
    page.click("speak")
    page.comes_to("speaking")
    assert page.run("return document.getAnimations().length") == 0
    page.click("speak")
    triton.release(gate)
