"""A book of our own, written by dice: chapters of plain English, as long as wanted, the same for a seed.

python -m bench.book --words 20000 book.md
"""

import argparse
import random
from pathlib import Path
from typing import Final

_WHO: Final = """
the keeper
her brother
an old sailor
the baker
the girl from the mill
a stranger
the teacher
my uncle
""".strip().splitlines()
_DID: Final = """
carried
mended
painted
lost
found
borrowed
hid
sold
counted
washed
remembered
forgot
""".strip().splitlines()
_WHAT: Final = """
a wooden chair
the last lantern
a basket of apples
two letters
the map of the island
a bell without a sound
the blue door
a small boat
every key in the house
a coat with seven pockets
""".strip().splitlines()
_WHERE: Final = """
by the harbour
behind the church
at the foot of the hill
in the kitchen
under the bridge
near the mill
""".strip().splitlines()
_WHEN: Final = """
before breakfast
after the storm
on the third day
late in the evening
all winter
when the bells rang
""".strip().splitlines()
_WHY: Final = """
because nobody else would
since the road was closed
although it was raining
so that the children could sleep
""".strip().splitlines()
_SAID: Final = """
It was not much, but it was enough.
Nobody asked why.
That was how it had always been done.
The wind turned, and everyone looked up.
There were fewer boats than the year before.
Was it worth the trouble?
""".strip().splitlines()
_PLACES: Final = """
The Harbour
The Mill
The Long Road
Winter
The Lantern
A Letter
The Fair
The Storm
The Bridge
Home
""".strip().splitlines()


def sentence(chance: random.Random) -> str:
    if chance.random() < 0.25:
        return chance.choice(_SAID)
    who, did, what = chance.choice(_WHO), chance.choice(_DID), chance.choice(_WHAT)
    rest = [chance.choice(each) for each in (_WHERE, _WHEN, _WHY) if chance.random() < 0.6]
    text = " ".join((who, did, what, *rest))
    return f"{text[0].upper()}{text[1:]}."


def book(words: int, seed: int = 1) -> str:
    """Markdown with a heading a chapter; at least `words` words."""
    chance = random.Random(seed)
    parts: list[str] = []
    written = chapter_words = 0
    while written < words:
        if not parts or chapter_words > 1_000:
            number = sum(part.startswith("# ") for part in parts)
            parts.append(f"# {_PLACES[number % len(_PLACES)]} {number // len(_PLACES) + 1}")
            chapter_words = 0
        parts.append(" ".join(sentence(chance) for _ in range(chance.randint(3, 8))))
        count = len(parts[-1].split())
        written, chapter_words = written + count, chapter_words + count
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--words", type=int, default=20_000)
    options = parser.parse_args()
    options.output.write_text(book(options.words), encoding="utf-8")


if __name__ == "__main__":
    main()
