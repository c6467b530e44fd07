"""Selection of pictures by their metadata."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from newsimg.datatypes import Image, Listed, PictureFilter
from newsimg.storage.metadata.fields import WORDS, split_words, to_iso_date
from newsimg.storage.metadata.lazy import with_metadata
from newsimg.storage.text.suggest import suggest

log = logging.getLogger(__name__)

IMAGES_AT_ONCE = 4096
LISTS = ("licence", "source", "author", "name", "words")
DATES = ("after", "before")
# The licence in an address of Creative Commons, and its version.
CREATIVE_COMMONS = re.compile(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)/([\d.]+)")
VERSION = re.compile(r"\d+(\.\d+)?")


def make_filter(values: Mapping[str, Any] | None) -> PictureFilter | None:
    """Return the filter of `data.filter`; None for no conditions.

    Args:
        values: licence, source, author, name and words: a text or a list of texts; after and
            before: dates.

    Raises:
        ValueError: If a key is unknown, a value is empty or of another type, or no date.
    """
    found: dict[str, Any] = {}
    for name, value in (values or {}).items():
        if name not in (*LISTS, *DATES):
            known = ", ".join((*LISTS, *DATES))
            hint = suggest(name, (*LISTS, *DATES))
            raise ValueError(f"data.filter takes {known}, got {name}{hint}")
        if value is None:
            continue
        if name in DATES:
            date = to_iso_date(str(value))
            if not date:
                raise ValueError(
                    f"data.filter.{name} must be a date such as 2020-01-31, got {value!r}"
                )
            found[name] = date
            continue
        texts = [value] if isinstance(value, str | int | float) else value
        if (
            not isinstance(texts, Sequence)
            or not texts
            or not all(isinstance(one, str | int | float) and str(one).strip() for one in texts)
        ):
            raise ValueError(f"data.filter.{name} must be a list of texts, got {value!r}")
        found[name] = tuple(str(one) for one in texts)
    return PictureFilter(**found) if found else None


def matches(image: Image, wanted: PictureFilter | None) -> bool:
    """Return whether a picture fulfils all conditions of a filter.

    - licence: the picture has one of these; case, punctuation and the addresses of Creative Commons
      do not count, and a version only if it is given ("CC-BY" is "CC BY 4.0", not "CC BY-NC").
    - after, before: its date is in the range, both ends included; a date without month or day is
      the first of its period.
    - source: its source or its credit is one of these, whatever the case.
    - author: its author is one of these, whatever the case.
    - name: one of these occurs in its id or file name, whatever the case.
    - words: all of these occur in title, caption, keywords or place as whole words; several words
      in one text occur one after the other.

    A picture without a value that a condition needs does not fulfil it.
    """
    if wanted is None:
        return True
    if wanted.name:
        names = f"{image.image_id}\n{Path(image.member or image.path).name}".casefold()
        if not any(one.casefold() in names for one in wanted.name):
            return False
    metadata = image.metadata or {}
    if wanted.licence:
        own = metadata.get("licence", "")
        if not any(_is_licence(own, one) for one in wanted.licence):
            return False
    if wanted.after or wanted.before:
        date = metadata.get("date", "")
        if not date or (wanted.after and _first_day(date) < _first_day(wanted.after)):
            return False
        # A date with a time is within the last day.
        if wanted.before and _first_day(date) > _first_day(wanted.before):
            return False
    if wanted.source:
        own_sources = {metadata.get(name, "").casefold() for name in ("source", "credit")}
        if not own_sources & {one.casefold() for one in wanted.source}:
            return False
    if wanted.author:
        author = metadata.get("author", "").casefold()
        if author not in {one.casefold() for one in wanted.author}:
            return False
    if wanted.words:
        texts = [_pad(metadata.get(name, "")) for name in WORDS]
        return all(any(_pad(one) in text for text in texts) for one in wanted.words)
    return True


def find_matching(images: Sequence[Image], wanted: PictureFilter) -> list[int]:
    """Return the rows of the pictures that match; their own metadata are read if necessary."""
    found = []
    for start in range(0, len(images), IMAGES_AT_ONCE):  # a saved index reads blocks faster
        for row, image in enumerate(images[start : start + IMAGES_AT_ONCE], start):
            if matches(image, wanted):
                found.append(row)
    return found


def filter_listed(found: Iterable[Listed], wanted: PictureFilter | None) -> Iterator[Listed]:
    """Yield what is listed without the pictures that do not match, and log their number.

    Raises:
        ValueError: If there were pictures, and none matches.
    """
    if wanted is None:
        yield from found
        return
    n_listed = n_matching = 0
    for one in found:
        if not isinstance(one, Image):
            yield one
            continue
        n_listed += 1
        described = with_metadata(one)
        if matches(described, wanted):
            n_matching += 1
            yield described
    check_matching(n_matching, n_listed)


def check_matching(n_matching: int, n_pictures: int) -> None:
    """Log how many pictures match.

    Raises:
        ValueError: If none of them does.
    """
    what = f"{n_matching} of {n_pictures} pictures match data.filter"
    if n_pictures and not n_matching:
        raise ValueError(f"{what}: check its values; a picture without a value does not match")
    log.info(what)


def _is_licence(own: str, wanted: str) -> bool:
    words, wanted_words = _licence_words(own), _licence_words(wanted)
    if not any(map(VERSION.fullmatch, wanted_words)):
        words = [word for word in words if not VERSION.fullmatch(word)]
    return bool(words) and words == wanted_words


def _licence_words(text: str) -> list[str]:
    text = text.casefold()
    if found := CREATIVE_COMMONS.search(text):
        kind = {"zero": "cc0", "mark": "public-domain-mark"}.get(found[1], f"cc-{found[1]}")
        text = f"{kind} {found[2]}"
    return re.findall(r"\d+(?:\.\d+)+|\w+", text)


def _first_day(date: str) -> str:
    return (date[:10] + "-01-01")[:10]


def _pad(text: str) -> str:
    return f" {' '.join(split_words(text))} "
