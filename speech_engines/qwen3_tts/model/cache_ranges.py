"""Who has which places of the caches. No tensors."""

from bisect import insort
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """A range of places that belongs to one utterance: its prompt first, then a place for each frame."""

    start: int
    count: int

    @property
    def stop(self) -> int:
        return self.start + self.count


class Stretches:
    """Hands out stretches of `places` places. What is given back joins its neighbours, so nothing crumbles for good."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._free = [Stretch(0, places)]  # in order, no two of them side by side

    def take(self, count: int) -> Stretch | None:
        """The first free stretch of that length; None where there is none now."""
        for index, free in enumerate(self._free):
            if free.count >= count:
                rest = Stretch(free.start + count, free.count - count)
                self._free[index : index + 1] = [rest] if rest.count else []
                return Stretch(free.start, count)
        return None

    def grow(self, stretch: Stretch, count: int) -> Stretch | None:
        """A stretch of `count` places in place of this one: longer where it lies, if what follows is free, else the
        first that is free once this one is given back, which may overlap it. None, and nothing changed, where there is
        none."""
        for index, free in enumerate(self._free):
            if free.start == stretch.stop and stretch.count + free.count >= count:
                rest = Stretch(stretch.start + count, stretch.count + free.count - count)
                self._free[index : index + 1] = [rest] if rest.count else []
                return Stretch(stretch.start, count)
        before = list(self._free)
        self.give(stretch)
        grown = self.take(count)
        if grown is None:
            self._free = before
        return grown

    def give(self, stretch: Stretch) -> None:
        """Take a stretch back."""
        insort(self._free, stretch)
        joined: list[Stretch] = []
        for free in self._free:
            before = joined.pop() if joined and joined[-1].stop == free.start else Stretch(free.start, 0)
            joined.append(Stretch(before.start, before.count + free.count))
        self._free = joined
