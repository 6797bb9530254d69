"""Environment variables that are probably misspelled settings."""

from collections.abc import Iterable, Iterator
from typing import Final

from openai_frontend.settings.settings import Settings

# Variables of the other processes of this service, which may share the environment.
OTHER_VARIABLES: Final = frozenset(
    {
        "ATTENTION",
        "CACHE_SHARE",
        "DEVICE",
        "DTYPE",
        "ENGINE",
        "HOST_ADDRESS",
        "HOST_PORT",
        "MAX_BATCH",
        "MAX_QUEUE",
        "MODEL_REPOSITORY",
        "RUNAWAY_GUARD",
        "STEP_TIMEOUT",
        "TRITON_HTTP_PORT",
        "TRITON_METRICS_PORT",
        "WEIGHTS",
    }
)
# In shorter names, one or two letters do not indicate a misspelling: PORT and POST, HOST and HOME.
_LETTERS_FOR_ONE: Final = 7
_LETTERS_FOR_TWO: Final = 10


def misspelled(variables: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each variable that is not a setting but close to one, and the variable of that setting: within two letters,
    within one if the name has fewer than ten, or never if it has fewer than seven."""
    known = [name.upper() for name in Settings.model_fields]
    for variable in sorted(set(variables) - {*known, *OTHER_VARIABLES}):
        for name in known:
            limit = (len(name) >= _LETTERS_FOR_ONE) + (len(name) >= _LETTERS_FOR_TWO)
            if distance(variable, name, limit) <= limit:
                yield variable, name
                break


def distance(one: str, other: str, limit: int) -> int:
    """Edit distance: letters to insert, delete, replace or swap with the next one to turn `one` into `other`; `limit` +
    1 for any number above the limit."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    earlier: list[int] = []
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(*row, *before) > limit:
            return limit + 1
    return min(row[-1], limit + 1)
