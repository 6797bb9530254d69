"""Screenshots of the page for the documentation, with the embedded voice: `python -m tests.page.screenshots`."""

import tempfile
from pathlib import Path
from typing import Final

from tests.support.browser import chromium
from tests.support.page import Page
from tests.support.stack import Stack

FOLDER: Final = Path(__file__).parent.parent.parent / "docs/images"
TEXT: Final = (
    "Once upon a time there was a clockmaker who could not tell the time. Her clocks were the finest in the country, "
    "and every one of them was right.\n\n"
    "But when a neighbour asked her the hour, she looked out of the window, and said: it is as late as the light is "
    "long. And the neighbour, who had a train to catch, sighed and went on.\n\n"
    "One winter a stranger came to the shop with a watch that had stopped at noon."
)
LOOKS: Final = {
    "page": (1280, 860, {"prefers_color_scheme": "light"}),
    "page-dark": (1280, 860, {"prefers_color_scheme": "dark"}),
    "page-phone": (390, 780, {"prefers_color_scheme": "light"}),
}
# Two frames: one that is laid out anew, one that is drawn.
_SETTLED: Final = "const [done] = arguments; requestAnimationFrame(() => requestAnimationFrame(() => done()));"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "script").mkdir()
        stack = Stack(root / "script", default_model="hibari", port=8101)
        with stack, chromium(root / "profile", root) as browser:
            page = Page(browser, stack.frontend.url)
            page.emulate()
            page.open()
            page.speak("The first request loads the model.")
            page.forget()
            page.speak(TEXT)
            page.shows("status", "Part 2 of")
            page.click("play")
            for name, (width, height, features) in LOOKS.items():
                page.emulate(width, height, **features)
                page.run("scrollTo(0, 0); document.activeElement.blur()")
                browser.execute_async_script(_SETTLED)
                FOLDER.mkdir(exist_ok=True)
                browser.save_screenshot(str(FOLDER / f"{name}.png"))


if __name__ == "__main__":
    main()
