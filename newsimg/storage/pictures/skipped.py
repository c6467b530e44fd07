"""Counts of skipped files (files that are not pictures), by extension."""

from collections import Counter
from collections.abc import Iterator, Mapping

from newsimg.datatypes import Rejected, SkippedFile
from newsimg.storage.pictures.formats import find_package

N_SHOWN = 8  # extensions in a message
SKIPPED_PREFIX = "skipped: "


class Tally:
    """A counter of skipped files by extension, which remembers the first file of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, file: SkippedFile) -> None:
        """Count a file."""
        self.counts[file.suffix] += 1
        self._first.setdefault(file.suffix, file.uri)

    def describe(self, before: str = "") -> str:
        """Return a summary on one line, prefixed by `before`; "" if no file was skipped."""
        if not self.counts:
            return ""
        return before + describe_counts(self.counts)

    def to_rejected(self) -> Iterator[Rejected]:
        """Yield one entry per extension, with the URI of its first file."""
        for suffix, count in self.counts.items():
            reason = f"one of {count} files {_name(suffix)}" if count > 1 else _name(suffix)
            yield Rejected(self._first[suffix], f"{SKIPPED_PREFIX}{reason}{_hint(suffix)}")


def describe_counts(counts: Mapping[str, int]) -> str:
    """Return the number of skipped files and the most frequent extensions, on one line."""
    common = Counter(counts).most_common(N_SHOWN)
    shown = [f"{_name(suffix)} {count}{_hint(suffix)}" for suffix, count in common]
    if len(counts) > N_SHOWN:
        shown.append(f"{len(counts) - N_SHOWN} more extensions")
    n_files = sum(counts.values())
    return f"{n_files} {'file' if n_files == 1 else 'files'} skipped: {', '.join(shown)}"


def _name(suffix: str) -> str:
    return suffix or "without extension"


def _hint(suffix: str) -> str:
    package = find_package(suffix)
    return f" (needs pip install '{package}')" if package else ""
