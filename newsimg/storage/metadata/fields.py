"""Names, limits and forms of the metadata of a picture."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

METADATA = (
    "title",
    "caption",
    "keywords",
    "date",
    "place",
    "credit",
    "source",
    "author",
    "licence",
    "page_url",
)
WORDS = ("title", "caption", "keywords", "place")  # what describes the picture's content
# Other names of these fields, in tables and JSON files.
ALIASES = {
    "description": "caption",
    "tags": "keywords",
    "license": "licence",
    "headline": "title",
    "location": "place",
    "creator": "author",
}
COLUMNS = (*METADATA, *ALIASES)
"""Columns of a table that are read as metadata."""
MAX_CHARS = 2000  # of a value, as IPTC limits a caption
MAX_KEYWORDS = 100
# Control characters, lone surrogates, and characters that reorder the text around them.
UNUSABLE = re.compile(r"[\0-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff]+")
DATE = re.compile(
    r"(\d{4})(?:[-:/.]?(\d\d)(?:[-:/.]?(\d\d))?)?"
    r"(?:[T ]*(\d\d):?(\d\d)(?::?(\d\d)(?:\.\d+)?)?)? ?(Z|[+-]\d\d:?\d\d)?"
)


def clean_metadata(values: Mapping[str, Any]) -> tuple[dict[str, str], int]:
    """Return the usable values by field, cut to the limits, and the number cut or dropped.

    Args:
        values: Texts or, for keywords, lists of texts, by field or another name of it.
    """
    found: dict[str, str] = {}
    n_cut = 0
    for name in COLUMNS:
        field = ALIASES.get(name, name)
        if field in found or values.get(name) is None:
            continue
        text, cut = _clean_field(field, values[name])
        n_cut += cut
        if text:
            found[field] = text
    return {name: found[name] for name in METADATA if name in found}, n_cut


def merge_metadata(
    given: Mapping[str, Any], embedded: Mapping[str, Any]
) -> tuple[dict[str, str], int]:
    """Return the values given beside a picture, and of its own those fields that are not given."""
    first, n_first = clean_metadata(given)
    second, n_second = clean_metadata(embedded)
    merged = second | first
    return {name: merged[name] for name in METADATA if name in merged}, n_first + n_second


def to_iso_date(text: str) -> str:
    """Return an ISO date of a date in the forms of EXIF, IPTC, XMP or ISO; "" if it is none.

    Year alone, or year and month, are kept as such, and so are a time and its offset.
    """
    found = DATE.fullmatch(text.strip())
    if found is None:
        return ""
    year, month, day, hour, minute, second, offset = found.groups()
    if not int(month or 0):
        month = day = None
    if not int(day or 0):
        day = None
    try:
        moment = datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0),
            int(second or 0),
        )  # fmt: skip
    except ValueError:
        return ""
    if month is None or day is None:
        return f"{moment:%Y-%m-%d}"[: 4 if month is None else 7]
    if hour is None:
        return f"{moment:%Y-%m-%d}"
    return moment.isoformat() + (offset or "")


def split_words(text: str) -> list[str]:
    """Return the words of a text in their order, case-folded."""
    return re.findall(r"\w+", text.casefold())


def _clean_field(field: str, value: Any) -> tuple[str, int]:
    if field == "keywords":
        return _join_keywords(re.split("[,;]", value) if isinstance(value, str) else value)
    if isinstance(value, list | tuple):
        value = ", ".join(str(one) for one in value[:MAX_KEYWORDS])
    text, n_cut = _clean_text(str(value))
    if field == "date" and text:
        date = to_iso_date(text)
        # Cameras without a clock write zeros, which are no hostile value.
        return date, n_cut + (not date and bool(re.search("[1-9]", text)))
    if field == "page_url" and text and not re.match(r"https?://", text, re.IGNORECASE):
        return "", n_cut + 1
    return text, n_cut


def _join_keywords(values: Any) -> tuple[str, int]:
    words: Sequence[Any] = list(values) if isinstance(values, Iterable) else [values]
    cleaned = [_clean_text(str(one)) for one in words[:MAX_KEYWORDS]]
    distinct = dict.fromkeys(text for text, _ in cleaned if text)
    text, cut = _clean_text(", ".join(distinct))
    n_cut = sum(cut for _, cut in cleaned) + cut + (len(words) > MAX_KEYWORDS)
    return text, n_cut


def _clean_text(text: str) -> tuple[str, int]:
    is_long = len(text) > MAX_CHARS
    # The first cut bounds the work, the second the result.
    text = " ".join(UNUSABLE.sub(" ", text[: 4 * MAX_CHARS]).split())[:MAX_CHARS].strip()
    return text, int(is_long)
