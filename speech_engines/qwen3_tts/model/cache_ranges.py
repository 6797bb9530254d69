"""Allocator of contiguous ranges of KV-cache positions. No tensors."""

from bisect import insort
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class CacheRange:
    """A range of cache positions that belongs to one utterance: its prompt first, then one for each frame."""

    start: int
    count: int

    @property
    def stop(self) -> int:
        """The position after the last one."""
        return self.start + self.count


class CacheRanges:
    """Allocates cache ranges of `cache_positions` positions. Adjacent free ranges are merged, so fragmentation is
    temporary."""

    def __init__(self, cache_positions: int) -> None:
        self.cache_positions = cache_positions
        self._free = [CacheRange(0, cache_positions)]  # in order, no two of them adjacent

    def take(self, count: int) -> CacheRange | None:
        """The first free cache range of that length; None if there is none now."""
        for index, free in enumerate(self._free):
            if free.count >= count:
                rest = CacheRange(free.start + count, free.count - count)
                self._free[index : index + 1] = [rest] if rest.count else []
                return CacheRange(free.start, count)
        return None

    def grow(self, cache_range: CacheRange, count: int) -> CacheRange | None:
        """Replace this range by one of `count` positions: in place if the following positions are free, else the first
        free range after its release, which may overlap it. Returns None, and changes nothing, if there is none."""
        for index, free in enumerate(self._free):
            if free.start == cache_range.stop and cache_range.count + free.count >= count:
                rest = CacheRange(cache_range.start + count, cache_range.count + free.count - count)
                self._free[index : index + 1] = [rest] if rest.count else []
                return CacheRange(cache_range.start, count)
        before = list(self._free)
        self.give(cache_range)
        grown = self.take(count)
        if grown is None:
            self._free = before
        return grown

    def give(self, cache_range: CacheRange) -> None:
        """Free a cache range."""
        insort(self._free, cache_range)
        joined: list[CacheRange] = []
        for free in self._free:
            before = joined.pop() if joined and joined[-1].stop == free.start else CacheRange(free.start, 0)
            joined.append(CacheRange(before.start, before.count + free.count))
        self._free = joined
