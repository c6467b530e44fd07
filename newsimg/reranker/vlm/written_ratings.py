"""Parsing of the ratings that a vision-language model writes."""

import re
from dataclasses import dataclass

LOWEST, HIGHEST = 1.0, 5.0
NUMBER = r"-?\d+(?:[.,]\d+)?"
SCALE = re.compile(r"\b1\s*(?:to|-|–)\s*5\b", re.IGNORECASE)
OUT_OF = re.compile(r"(?<=\d)\s*(?:/|out of)\s*5\b", re.IGNORECASE)
# At most a label and markup come before a rating, and no word or second number directly after it.
AT_BEGINNING = re.compile(
    rf"(?:[^\W\d]+\s*[:=])?[^\w-]*({NUMBER})(?=\s*(?:$|[^\w\s/]))(?!\s*(?:-|–)\s*\d)"
)


@dataclass(frozen=True)
class WrittenRating:
    """A rating from 1 to 5, None if the text has none, and its explanation."""

    value: float | None
    explanation: str = ""


def read_rating(text: str) -> WrittenRating:
    """Parse an answer of the form `score;;explanation`.

    The rating is read before the first semicolon, or in the whole text if it has none: the number
    at its beginning, after a label such as "Score:", or else its only number. "4", "4;", "4;;",
    "4.5;;", "4/5" and "Score: 4;;" are ratings. A number outside of 1 to 5 is none, and neither are
    two different numbers in a sentence: such answers are neither clamped nor guessed.
    """
    part, _, rest = text.partition(";")
    part = OUT_OF.sub("", SCALE.sub("", part)).strip()
    explanation = " ".join(rest.lstrip("; ").split())
    first = AT_BEGINNING.match(part)
    numbers = [first[1]] if first else re.findall(NUMBER, part)
    values = {float(number.replace(",", ".")) for number in numbers}
    value = values.pop() if len(values) == 1 else None
    in_range = value is not None and LOWEST <= value <= HIGHEST
    return WrittenRating(value if in_range else None, explanation)
