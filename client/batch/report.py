"""Reports skipped text and the reasons: as a sentence, and in full in a file."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from .assembly import Part
from .document import Skipped
from .plan import Work
from .store import write_whole

FILE: Final = "skipped.jsonl"


def counted(skipped: Iterable[Skipped]) -> str:
    """`12 × note reference, 1 × code`, the most frequent first."""
    counts = Counter(each.reason.value for each in skipped)
    return ", ".join(f"{count} × {reason}" for reason, count in counts.most_common())


def all_skipped(silent: Iterable[tuple[str, Skipped]], works: Iterable[Work]) -> Iterator[tuple[str, Skipped]]:
    """The text skipped by rule, with its chapter: chapters without any speech first."""
    yield from silent
    for work in works:
        for each in work.skipped:
            yield work.title, each


def write_skipped(
    folder: Path,
    skipped: Iterable[tuple[str, Skipped]],
    parts: Sequence[Part],
    refusals: Mapping[int, str],
    failures: Mapping[str, str],
    notes: Mapping[str, str],
) -> int:
    """Write all skipped text with the reason, `skipped` by rule first. `refusals` are by number of the part, the others
    by key of the utterance. Returns the number of utterances that a model or the server skipped or cut short."""
    rows = [{"chapter": chapter, "reason": each.reason, "text": each.text} for chapter, each in skipped]
    rules = len(rows)
    for number, part in enumerate(parts):
        for job, utterance in zip(part.jobs, part.work.utterances, strict=True):
            why = refusals.get(number, "") if job is None else failures.get(job.key) or notes.get(job.key)
            if why or job is None:
                rows.append({"chapter": part.work.title, "reason": why or "no voice", "text": utterance.text})
    if rows:
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        write_whole(folder / FILE, ("\n".join(lines) + "\n").encode())
    else:
        (folder / FILE).unlink(missing_ok=True)
    return len(rows) - rules
