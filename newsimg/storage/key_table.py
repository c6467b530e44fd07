"""A compact map from keys to row positions."""

from collections.abc import Iterable, Sequence

import numpy as np

from newsimg.datatypes import IntArray

# Keys are SHA-256, 32 bytes. With half of them, 10^9 keys collide with a probability of 10^-21.
KEY_BYTES = 16
MIN_RECENT = 1 << 16  # keys are collected in a dict and sorted in when there are more

KeyArray = np.ndarray[tuple[int], np.dtype[np.bytes_]]


class KeyTable:
    """A map from keys to positions (integers from 0); the last value added for a key wins.

    A key takes 24 bytes, a tenth of a dict entry.
    """

    def __init__(self) -> None:
        self._keys: KeyArray = np.empty(0, f"S{KEY_BYTES}")  # sorted
        self._places: IntArray = np.empty(0, np.int64)
        self._recent: dict[bytes, int] = {}

    def add(self, keys: Sequence[bytes], first: int) -> None:
        """Add a few keys at the positions `first`, `first` + 1, ..."""
        self._recent.update((key[:KEY_BYTES], first + i) for i, key in enumerate(keys))
        if len(self._recent) > max(MIN_RECENT, len(self._keys) // 8):
            self._sort_in([], [])

    def add_blocks(self, blocks: Iterable[tuple[bytes, int]]) -> None:
        """Add many keys: each block is a concatenation of 32-byte keys and the first position."""
        parts, places = [], []
        for keys, first in blocks:
            # Copied, because a strided view would keep the whole block in memory.
            parts.append(np.frombuffer(keys, f"S{KEY_BYTES}")[::2].copy())
            places.append(np.arange(first, first + len(parts[-1])))
        if parts:
            self._sort_in(parts, places)

    def find(self, keys: Sequence[bytes]) -> IntArray:
        """Return the position of each key: (n_keys,) int64, -1 for unknown keys."""
        short = [key[:KEY_BYTES] for key in keys]
        recent = [self._recent.get(key, -1) for key in short]
        places = np.array(recent, dtype=np.int64)
        if len(self._keys) and len(keys):
            wanted = np.frombuffer(b"".join(short), self._keys.dtype)
            at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
            known = (self._keys[at] == wanted) & (places < 0)
            places[known] = self._places[at[known]]
        return places

    def _sort_in(self, parts: list[KeyArray], places: list[IntArray]) -> None:
        recent = np.frombuffer(b"".join(self._recent), self._keys.dtype)
        keys = np.concatenate([self._keys, recent, *parts])
        numbers = np.array(list(self._recent.values()), np.int64)
        all_places = np.concatenate([self._places, numbers, *places])
        self._recent.clear()
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        last = np.append(keys[1:] != keys[:-1], True)[: len(keys)]
        self._keys, self._places = keys[last], all_places[order[last]]
