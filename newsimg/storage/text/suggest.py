"""What a misspelt name may have meant, for messages."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any

MAX_LISTED = 12  # choices that a message lists if one of them is close
N_CLOSE = 20  # that are looked at
MAX_KNOWN = 20_000  # names that are compared, which takes a tenth of a second


def find_close(value: object, known: Iterable[object]) -> str | None:
    """Return the known name that is most like `value`, whatever its case; None if none is close."""
    names: dict[str, str] = {}
    for name in islice(known, MAX_KNOWN):
        names.setdefault(str(name).lower(), str(name))
    typed = str(value).lower()
    found = difflib.get_close_matches(typed, names, n=N_CLOSE)
    # Of names that are as close as each other, the first: hits_at_1 before hits_at_5.
    matcher = difflib.SequenceMatcher(b=typed)
    ratios = {}
    for name in filter(set(found).__contains__, names):
        matcher.set_seq1(name)
        ratios[name] = matcher.ratio()
    return names[max(ratios, key=ratios.__getitem__)] if ratios else None


def suggest(value: object, known: Iterable[object]) -> str:
    """Return the end of a message on an unknown `value`: "; did you mean 'val'?", or nothing.

    Examples:
        >>> suggest("vall", ["train", "val", "test"])
        "; did you mean 'val'?"
    """
    close = find_close(value, known)
    return "" if close is None else f"; did you mean {close!r}?"


def refuse_all(wrong: Iterable[str]) -> None:
    """Refuse several values at once.

    Args:
        wrong: A sentence on each.

    Raises:
        ValueError: If there is one; has a line for each.
    """
    if lines := list(wrong):
        raise ValueError("\n".join(lines))


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Refuse a value that is not one of its choices.

    Args:
        name: What to type for it, e.g. "data.split".
        value: What was given.
        choices: What there is.

    Raises:
        ValueError: If it is another; names the choices, and the one that is close.
    """
    check_choices({name: (value, choices)})


def check_choices(values: Mapping[str, tuple[Any, Collection[Any]]]) -> None:
    """Refuse values that are not of their choices; see `check_choice`.

    Args:
        values: Name -> what was given, and what there is.
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
