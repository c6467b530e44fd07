"""Parsing of the orders of pictures that a vision-language model writes."""

import re

NUMBER = r"\[\s*\d+\s*\]"
CHAIN = re.compile(rf"{NUMBER}(?:\s*>\s*{NUMBER})*")


def read_order(text: str, n_pictures: int) -> list[int] | None:
    """Parse an answer of the form `[2] > [1] > [3]`.

    Args:
        text: The answer. Words may stand around the order, but no second bracketed number.
        n_pictures: Number of pictures, which are numbered from 1.

    Returns:
        The named pictures, best first and counted from 0, without repetitions. None if the text
        holds no order, more than one, or the number of a picture that was not shown.
    """
    chains = CHAIN.findall(text)
    if len(chains) != 1:
        return None
    named = list(dict.fromkeys(int(number) - 1 for number in re.findall(r"\d+", chains[0])))
    return named if all(0 <= number < n_pictures for number in named) else None


def is_order(text: str, n_pictures: int) -> bool:
    """Return whether an answer holds an order of the pictures."""
    return read_order(text, n_pictures) is not None
