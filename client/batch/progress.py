"""The progress of a run, in total and for each chapter, and the remaining time."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from .assembly import Part
from .voices import Job

# Without a terminal: a line for each chapter, or for each share of a dataset.
_STEP: Final = 0.05
_MANY: Final = 200


class Pace:
    """Progress and remaining time, by the width of texts. Text in flight counts as half done."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._clock = total, clock
        self._done = self._skipped = self._flying = 0
        self._begin_s: float | None = None

    @property
    def share(self) -> float:
        """0 to 1."""
        return (self._done + self._skipped) / self._total if self._total else 1.0

    def skip(self, width: int) -> None:
        """That much had been done before."""
        self._skipped += width

    def began(self, width: int) -> None:
        """An utterance is in flight."""
        if self._begin_s is None:
            self._begin_s = self._clock()
        self._flying += width

    def ended(self, width: int, again: int = 0) -> None:
        """`again`: for identical texts, which are done at the same time."""
        self._flying -= width
        self._done += width
        self._skipped += again

    def remaining_s(self) -> float | None:
        """None before the first one is done."""
        if self._begin_s is None or not self._done:
            return None
        made = self._done + self._flying / 2
        left = self._total - self._skipped - made
        return max(0.0, (self._clock() - self._begin_s) * left / made)


class Display:
    """Bars on a terminal; lines elsewhere, so that the log of a long run stays short."""

    def __init__(self, parts: Sequence[Part], has: Callable[[Job], bool], console: Console, wake: Callable[[], None]):
        self._console, self._wake = console, wake
        self._titles = [part.work.title for part in parts]
        self._left = [len(part.jobs) - sum(job is None for job in part.jobs) for part in parts]
        self._widths = [part.work.width for part in parts]
        self._parts_of: dict[str, list[int]] = {}
        self._chapter = 0
        self._next_share = _STEP
        jobs = [(number, job) for number, part in enumerate(parts) for job in part.jobs if job is not None]
        self.pace = Pace(sum(job.utterance.width for _, job in jobs))
        self._done_widths = [0] * len(parts)
        for number, job in jobs:
            if has(job):
                self.pace.skip(job.utterance.width)
                self._count(number, job)
            else:
                self._parts_of.setdefault(job.key, []).append(number)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
        self._bars = Progress(*columns, TextColumn("{task.fields[rest]}"), console=console)
        self._total_bar = self._bars.add_task("in total", total=1.0, rest="")
        self._chapter_bar = self._bars.add_task("", total=1.0, rest="")

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def began(self, job: Job) -> None:
        """An utterance is in flight."""
        self.pace.began(job.utterance.width)

    def ended(self, job: Job) -> None:
        """An utterance was synthesized, or failed."""
        numbers = self._parts_of.pop(job.key, [])
        width = job.utterance.width
        self.pace.ended(width, width * (len(numbers) - 1))
        for number in numbers:
            self._count(number, job)
            if not self._left[number] and not self._console.is_terminal:
                self._say(number)
        self._draw()
        self._wake()

    def spoken(self) -> None:
        """All utterances are complete; only writing the files remains."""
        self._bars.update(self._total_bar, rest=", writing the rest")
        if not self._console.is_terminal:
            self._console.print("All text is synthesized; writing the rest.")

    def _count(self, number: int, job: Job) -> None:
        self._left[number] -= 1
        self._done_widths[number] += job.utterance.width

    def _say(self, number: int) -> None:
        if len(self._titles) > _MANY:
            if self.pace.share < self._next_share:
                return
            self._next_share = self.pace.share + _STEP
        title = f"{number + 1} of {len(self._titles)}, {self._titles[number]}: done"
        self._console.print(f"{title}; {self.pace.share:.0%} in total{self._rest()}", markup=False, soft_wrap=True)

    def _rest(self) -> str:
        left_s = self.pace.remaining_s()
        return "" if left_s is None else f", about {clock(left_s)} left"

    def _draw(self) -> None:
        while self._chapter < len(self._left) - 1 and not self._left[self._chapter]:
            self._chapter += 1
        done, width = self._done_widths[self._chapter], self._widths[self._chapter]
        title = f"{self._chapter + 1} of {len(self._titles)}, {self._titles[self._chapter][:40]}"
        self._bars.update(self._total_bar, completed=self.pace.share, rest=self._rest())
        self._bars.update(self._chapter_bar, completed=done / width if width else 1.0, description=escape(title))


def clock(seconds: float) -> str:
    """A duration in seconds as `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
