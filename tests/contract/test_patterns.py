"""No regular expression on a client's text takes more than linear time."""

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from itertools import product
from types import ModuleType
from typing import Any

import pytest
import regex

import openai_frontend
import speech_protocol
import speech_text

SHORT, FACTOR = 1_000, 8
# Linear time grows by FACTOR, quadratic time by its square; unmeasurably short times are ignored.
MOST = FACTOR * 3
LEAST_S = 0.01
# What patterns are made of: letters, digits, white space, marks, scripts. And the literals of each pattern itself.
SEEDS = (
    "a",
    "A",
    "1",
    " ",
    "\n",
    "\t",
    ".",
    ",",
    "-",
    "_",
    "*",
    "(",
    ")",
    "[",
    "<",
    ">",
    "/",
    ":",
    "+",
    "=",
    "%",
    "。",
    "é",
    "漢",
)

# Patterns that are applied to a short window of a text only.
WINDOWS = {"speech_text.sentences._LAST_WORD"}


def modules() -> Iterator[ModuleType]:
    for package in (openai_frontend, speech_protocol, speech_text):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def patterns() -> dict[str, Any]:
    found = {}
    for module in modules():
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern | regex.Pattern) and isinstance(value.pattern, str):
                found[f"{module.__name__}.{name}"] = value
    return found


PATTERNS = patterns()


def cpu_s(pattern: Any, text: str) -> float:
    begin_s = time.thread_time()
    pattern.fullmatch(text)
    pattern.search(text)
    for _ in pattern.finditer(text):
        pass
    return time.thread_time() - begin_s


def pumps(pattern: Any) -> set[str]:
    literals = re.findall(r"[A-Za-z]{2,}|[^\w\s\\]", pattern.pattern)[:12]
    pairs = ("".join(pair) for pair in product(("a", "1", " ", *literals[:6]), repeat=2))
    return {*SEEDS, *literals, *pairs}


def test_the_patterns_are_found() -> None:
    assert {"openai_frontend.synthesis.pauses._MARK", "speech_text.sentences._END"} <= set(PATTERNS)


@pytest.mark.parametrize("name", sorted(set(PATTERNS) - WINDOWS))
def test_time_grows_no_faster_than_the_text(name: str) -> None:
    pattern = PATTERNS[name]
    for pump in sorted(pumps(pattern)):
        for end in ("", "\x00"):
            long = pump * (SHORT * FACTOR // len(pump)) + end
            took_s = cpu_s(pattern, long)
            if took_s < LEAST_S:
                continue
            short = pump * (SHORT // len(pump)) + end
            ratio = min(cpu_s(pattern, long) / max(cpu_s(pattern, short), 1e-5) for _ in range(3))
            assert ratio < MOST, f"{pump!r} repeated, then {end!r}: {took_s:.3f} s for {len(long)} characters"
