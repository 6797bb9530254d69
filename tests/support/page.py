"""The page in a browser, operated like a user."""

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.waiting import eventually

_CARD: Final = "#voices .voice strong"
_NAMED: Final = "(it) => it.textContent === arguments[0]"
_WHOLE: Final = "(it) => it.closest('.voice')"


class Page:
    """The page of the server at `url`; `open` shows it anew."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        self.url = url

    def open(self, fragment: str = "") -> None:
        self.browser.get("about:blank")
        self.browser.get(f"{self.url}/{fragment}")
        self.has_lists()

    def reload(self) -> None:
        self.browser.refresh()
        self.has_lists()

    def has_lists(self) -> None:
        eventually(lambda: self.css("body").get_attribute("data-lists") == "yes", "the page has its lists")

    def forget(self) -> None:
        """Empty what the browser keeps of the page, and show it anew."""
        self.browser.get(f"{self.url}/static/icon.svg")
        self.run("sessionStorage.clear()")
        self.browser.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": self.url, "storageTypes": "all"})
        self.open()

    def __getitem__(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def css(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments: object) -> Any:
        return self.browser.execute_script(script, *arguments)

    @property
    def state(self) -> str | None:
        return self.css("body").get_attribute("data-state")

    def comes_to(self, *states: str) -> None:
        eventually(lambda: self.state in states, f"the page is {' or '.join(states)}: {self['problem'].text}")

    def shows(self, name: str, text: str) -> None:
        eventually(lambda: text in self[name].text, f"{name} shows {text!r}")

    def write(self, name: str, text: str) -> None:
        """Put text into a field, as typing does, emoji and all."""
        self.run(
            "const [field, text] = arguments; field.value = text;"
            "field.dispatchEvent(new Event('input', {bubbles: true}))",
            self[name],
            text,
        )

    def type(self, name: str, *keys: str) -> None:
        self[name].send_keys(*keys)

    def press(self, *keys: str) -> None:
        """Keys for whatever has the focus."""
        self.browser.switch_to.active_element.send_keys(*keys)

    def click(self, name: str) -> None:
        self.click_on(self[name])

    def click_on(self, element: WebElement) -> None:
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def choose(self, select: str, value: str) -> None:
        self.click_on(self[select].find_element(By.CSS_SELECTOR, f"option[value='{value}']"))

    def voice(self, name: str) -> WebElement:
        """The card of a voice."""
        (card,) = self.run(f"return [...document.querySelectorAll('{_CARD}')].filter({_NAMED}).map({_WHOLE})", name)
        return cast(WebElement, card)

    def choose_voice(self, name: str) -> None:
        self.click_on(self.voice(name).find_element(By.TAG_NAME, "label"))

    def voices(self) -> list[str]:
        return list(self.run(f"return [...document.querySelectorAll('{_CARD}')].map((it) => it.textContent)"))

    def focused(self) -> str | None:
        return self.browser.switch_to.active_element.get_attribute("id")

    def speak(self, text: str) -> None:
        """Speak a text until all of it is made."""
        self.write("text", text)
        self.click("speak")
        self.comes_to("playing", "idle")

    def seconds(self) -> Sequence[int]:
        """Where the listener is, and how long the speech is, in whole seconds."""
        slider = self["timeline"]
        values = (slider.get_attribute(name) for name in ("aria-valuenow", "aria-valuemax"))
        return [int(value or -1) for value in values]

    def emulate(self, width: int = 1280, height: int = 900, **features: str) -> None:
        """A screen of this size, and media features such as `forced_colors="active"`."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})

    def waits_for(self, condition: Callable[[], object], what: str) -> None:
        eventually(condition, f"{what}; the page says: {self['status'].text} {self['problem'].text}")


ENTER = Keys.ENTER
TAB = Keys.TAB
ESCAPE = Keys.ESCAPE
CONTROL = Keys.CONTROL
