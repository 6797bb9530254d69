"""Speech while the text is typed, in the browser, over the WebSocket."""

from pathlib import Path

from tests.support.fake_triton import FakeTriton
from tests.support.page import Page
from tests.support.stack import Frontend

WORDS = "Good morning to all of you, and thank you for coming. We have much to talk about today, so let us begin. "


def texts(triton: FakeTriton) -> str:
    return "".join(request["TEXT"] for request in triton.requests)


def begin(page: Page, text: str = "") -> None:
    page.write("text", text)
    page.click("live")
    page.click("speak")


def test_typed_words_are_heard_while_the_next_ones_are_typed(page: Page, triton: FakeTriton) -> None:
    begin(page)
    page.type("text", f"{WORDS}It is ")
    page.comes_to("speaking")
    page.waits_for(lambda: page.seconds()[1] >= 1, "the first words are heard")
    page.type("text", "late")
    page.waits_for(lambda: texts(triton).endswith("late"), "the last word is sent after a pause")
    assert " ".join(texts(triton).split()) == f"{WORDS}It is late"
    assert page["speak"].text == "Stop"


def test_stop_silences_the_server_and_keeps_the_text_and_the_audio(page: Page, triton: FakeTriton) -> None:
    begin(page, WORDS)
    page.waits_for(lambda: page.seconds()[1] >= 1, "the first words are heard")
    page.click("speak")
    page.comes_to("idle")
    page.waits_for(lambda: triton.active == 0, "the server is silent")
    assert page["text"].get_attribute("value") == WORDS
    assert page["status"].text == "Stopped. The audio so far is kept."
    page.waits_for(lambda: len(page.all("#recent li")) == 1, "the audio is in the history")


def test_unchecking_the_box_speaks_the_rest_and_ends(page: Page, triton: FakeTriton) -> None:
    begin(page, f"{WORDS}And the rest")
    page.comes_to("speaking")
    page.click("live")
    page.comes_to("playing", "idle")
    assert texts(triton).endswith("rest")
    page.click("speak")  # as usual again
    page.waits_for(lambda: "STREAM_ID" not in triton.requests[-1], "the text is spoken whole")


def test_a_key_is_asked_for_and_used(page: Page, triton: FakeTriton, tmp_path: Path) -> None:
    settings = {"default_model": "hibari", "idle_timeout": 0, "voices_folder": str(tmp_path), "api_keys": "sk-one/1="}
    with Frontend(triton_url=triton.url, **settings) as frontend:
        page = Page(page.browser, frontend.url)
        page.open()
        begin(page, WORDS)
        page.waits_for(lambda: page["key"].is_displayed(), "the key is asked for")
        page.write("key", "sk-one/1=")
        page.click("key-save")
        page.waits_for(lambda: page.seconds()[1] >= 1, "the words are heard")
