"""How many files were taken for no pictures, told by their extensions."""

from collections import Counter
from collections.abc import Iterator, Mapping

from newsimg.datatypes import PassedOver, Rejected
from newsimg.storage.pictures.formats import find_package

N_TOLD = 8  # extensions
BEGINNING = "passed over: "


class Tally:
    """Counts files by their extensions, and knows the first of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, file: PassedOver) -> None:
        """Count a file."""
        self.counts[file.suffix] += 1
        self._first.setdefault(file.suffix, file.uri)

    def describe(self, before: str = "") -> str:
        """Return one line, with `before` in front of it; nothing if no file was passed over."""
        if not self.counts:
            return ""
        return before + describe_counts(self.counts)

    def to_rejected(self) -> Iterator[Rejected]:
        """Yield one entry for each extension, in the name of its first file."""
        for suffix, count in self.counts.items():
            reason = f"one of {count} files {_name(suffix)}" if count > 1 else _name(suffix)
            yield Rejected(self._first[suffix], f"{BEGINNING}{reason}{_hint(suffix)}")


def describe_counts(counts: Mapping[str, int]) -> str:
    """Return how many files were passed over, and the most frequent extensions."""
    common = Counter(counts).most_common(N_TOLD)
    told = [f"{_name(suffix)} {count}{_hint(suffix)}" for suffix, count in common]
    if len(counts) > N_TOLD:
        told.append(f"{len(counts) - N_TOLD} more extensions")
    n_files = sum(counts.values())
    return f"{n_files} {'file' if n_files == 1 else 'files'} passed over: {', '.join(told)}"


def _name(suffix: str) -> str:
    return suffix or "without extension"


def _hint(suffix: str) -> str:
    package = find_package(suffix)
    return f" (needs pip install '{package}')" if package else ""
