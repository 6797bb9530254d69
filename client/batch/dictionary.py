"""A pronunciation dictionary: terms and their respellings for the model, for all languages or for one."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from .failures import InputError
from .rulefile import read_toml, text, texts

_MAX_TERMS: Final = 20_000


class Dictionary:
    """The terms of one file. A lower-case term matches any capitalisation; one with capitals matches exactly. Whole
    words are replaced, the longest term first, and replacements are not replaced again."""

    def __init__(self, terms: Mapping[str, Mapping[str, str]]) -> None:
        """`terms`: by language, respellings by term; "" is for all languages."""
        self._terms = terms
        self._of = cache(self._compiled)

    @classmethod
    def read(cls, path: Path) -> "Dictionary":
        """Raises InputError."""
        rules = read_toml(path)
        everywhere = {term: text(path, term, value) for term, value in rules.items() if not isinstance(value, dict)}
        languages = {name: texts(path, name, value) for name, value in rules.items() if isinstance(value, dict)}
        if sum(map(len, (everywhere, *languages.values()))) > _MAX_TERMS:
            raise InputError(f"{path} has more than {_MAX_TERMS} terms.")
        if any(not term.strip() for each in (everywhere, *languages.values()) for term in each):
            raise InputError(f"{path} has a term without a letter.")
        return cls({"": everywhere, **languages})

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that have their own terms, as named in the file."""
        return tuple(name for name in self._terms if name)

    def respell(self, spoken: str, languages: tuple[str, ...] = ()) -> str:
        """The text for the model; `languages` are names of tables in the file, the last one has precedence."""
        pattern, respellings = self._of(languages)
        if pattern is None:
            return spoken
        return pattern.sub(
            lambda match: respellings.get(match[0]) or respellings.get(match[0].lower()) or match[0], spoken
        )

    def _compiled(self, languages: tuple[str, ...]) -> tuple[re.Pattern[str] | None, dict[str, str]]:
        respellings: dict[str, str] = {}
        for language in ("", *languages):
            respellings |= self._terms.get(language, {})
        if not respellings:
            return None, {}
        terms = sorted(respellings, key=len, reverse=True)
        parts = (f"(?i:{re.escape(term)})" if term == term.lower() else re.escape(term) for term in terms)
        # A word character at an edge of a term must not be followed by another one; Chinese and Japanese words have no
        # edges.
        return re.compile(rf"(?<![^\W\u3040-\u9fff])(?:{'|'.join(parts)})(?![^\W\u3040-\u9fff])"), respellings
