"""The field's vocabulary: unclear phrases stay out of code, documents and tests."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The patterns themselves, and a story that benchmarks read aloud.
EXCEPT = ("tests/contract/test_wording.py", "tests/contract/test_errors.py", "bench/book.py")
# A phrase, and what to write instead.
PHRASES = {
    r"in the house": "in flight",
    r"\b(?:who|whoever|nobody|everybody|somebody) (?:is|has|was|may|can|waits?|came|comes|gave|sent|reads|runs)\b": (
        "the noun: the client, the request, no request"
    ),
    r"\bthose who\b": "the noun",
    r"\bhung up on\b": "disconnected",
    r"\b(?:has its|have their) turn\b|\btakes? turns\b": "holds a slot, is next, round-robin",
    r"\bno place (?:came|is) free\b": "timed out in the queue",
    r"\b(?:is|are) told\b": "receives, is reported",
    r"\bgoes by the\b": "is selected by",
    r"\bfreed of\b": "trimmed",
    r"\bforget it\b": "delete",
    r"\bin an unforeseen way\b": "unhandled",
    r"\bstands? still\b": "is inactive, pauses",
    r"\bso many\b": "the number",
    r"\bas most do\b": "the usual kind",
    r"\bcomes? again\b": "retries, repeats",
    r"\bhang-?ups?\b|\bhangs? up\b|\bhung up\b": "disconnect",
    r"\b(?:in|into|on) a (?:thread|process) of (?:its|their) own\b": "in a separate thread, process",
    r"\bcan(?:no|')t be had\b": "is unavailable",
    r"\bis out of reach\b": "is unreachable",
    r"\bfor ever\b": "forever",
    r"\b(?:as|unless|until) told\b": "on demand, by default, until released",
    r"\bwhere (?:it is|there is) (?:no|not)\b": "if",
}


def lines() -> list[tuple[str, str]]:
    """Every line of a tracked text file, with its location."""
    names = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    found = []
    for name in names:
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        if name not in EXCEPT:
            found += [(f"{name}:{number}", line) for number, line in enumerate(text.splitlines(), 1)]
    return found


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_line_has_a_phrase_that_readers_stumble_over(phrase: str) -> None:
    pattern = re.compile(phrase, re.IGNORECASE)
    found = [f"{where}: {line.strip()[:120]}" for where, line in lines() if pattern.search(line)]
    assert not found, f"write instead: {PHRASES[phrase]}"
