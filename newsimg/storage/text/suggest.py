"""Suggestions for misspelt names in error messages."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any

MAX_LISTED = 12  # choices listed in a message if one of them is close
N_CLOSE = 20  # candidates that are compared
MAX_KNOWN = 20_000  # names that are compared, in a tenth of a second


def find_close(value: object, known: Iterable[object]) -> str | None:
    """Return the known name closest to `value`, ignoring case; None if none is close."""
    names: dict[str, str] = {}
    for name in islice(known, MAX_KNOWN):
        names.setdefault(str(name).lower(), str(name))
    typed = str(value).lower()
    found = difflib.get_close_matches(typed, names, n=N_CLOSE)
    # Of equally close names the first: hits_at_1 before hits_at_5.
    matcher = difflib.SequenceMatcher(b=typed)
    ratios = {}
    for name in filter(set(found).__contains__, names):
        matcher.set_seq1(name)
        ratios[name] = matcher.ratio()
    return names[max(ratios, key=ratios.__getitem__)] if ratios else None


def suggest(value: object, known: Iterable[object]) -> str:
    """Return "; did you mean ...?" for an unknown `value`, or an empty text.

    Examples:
        >>> suggest("vall", ["train", "val", "test"])
        "; did you mean 'val'?"
    """
    close = find_close(value, known)
    return "" if close is None else f"; did you mean {close!r}?"


def refuse_all(wrong: Iterable[str]) -> None:
    """Raise one error for several invalid values.

    Args:
        wrong: One sentence per invalid value.

    Raises:
        ValueError: If there is at least one; has one line per sentence.
    """
    if lines := list(wrong):
        raise ValueError("\n".join(lines))


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Check that a value is one of its choices.

    Args:
        name: Key of the value, e.g. "data.split".
        value: The value.
        choices: Valid values.

    Raises:
        ValueError: If it is not; names the choices and the closest one.
    """
    check_choices({name: (value, choices)})


def check_choices(values: Mapping[str, tuple[Any, Collection[Any]]]) -> None:
    """Check several values; see `check_choice`.

    Args:
        values: Key -> the value and its choices.
    """
    refuse_all(
        _describe_choice(name, value, list(choices))
        for name, (value, choices) in values.items()
        if value not in choices
    )


def _describe_choice(name: str, value: Any, choices: list[Any]) -> str:
    hint = suggest(value, choices)
    if hint and len(choices) > MAX_LISTED:
        return f"{name} cannot be {value!r}{hint}"
    return f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}{hint}"
