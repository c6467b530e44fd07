"""Fitting headlines and thumbnails into a page of limited size."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from newsimg.datatypes import Image
from newsimg.reporting.pages.assemble import to_json
from newsimg.reporting.pages.cards import describe_pictures, list_refs
from newsimg.reporting.thumbnails import choose_scale, draw_thumbnails

log = logging.getLogger(__name__)

MARGIN = 30_000  # for the page's head, and for the keys and commas between pictures
N_DESCRIBED = 100  # bytes that describe a picture besides its thumbnail and path


def fit_page(
    headlines: Sequence[Mapping[str, Any]],
    order: Sequence[int],
    images: Sequence[Image],
    path: Path,
    n_bytes: float,
) -> dict[str, Any]:
    """Return the `headlines` and `pictures` of a page, with thumbnails as large as the size allows.

    Args:
        headlines: Descriptions of all headlines.
        order: Their positions in order of priority, for the case that not all fit.
        images: The pictures that they refer to, by position.
        path: The HTML file.
        n_bytes: Available size.
    """
    budget = n_bytes - MARGIN
    refs = list_pictures(headlines)
    n_text = sum(len(to_json(headline)) for headline in headlines) + N_DESCRIBED * len(refs)
    scale, size = choose_scale([images[int(ref)] for ref in refs], int(budget - n_text))
    kept = fit_headlines(headlines, order, budget, lambda ref: size + N_DESCRIBED)

    refs = list_pictures([headlines[position] for position in kept])
    thumbs = draw_thumbnails([images[int(ref)] for ref in refs], scale)
    pictures = describe_pictures(images, thumbs, refs, path.parent)
    fitting = set(kept)
    ordered = [position for position in order if position in fitting]
    kept = fit_headlines(headlines, ordered, budget, lambda ref: len(to_json(pictures[ref])))
    if len(kept) < len(headlines):
        log.warning("%s shows %d of %d headlines", path.name, len(kept), len(headlines))
    shown = [headlines[position] for position in kept]
    return {"headlines": shown, "pictures": {ref: pictures[ref] for ref in list_pictures(shown)}}


def list_pictures(headlines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the keys of the pictures of headlines, each once."""
    return list(dict.fromkeys(ref for headline in headlines for ref in list_refs(headline)))


def fit_headlines(
    headlines: Sequence[Mapping[str, Any]],
    order: Iterable[int],
    n_bytes: float,
    measure: Callable[[str], float],
) -> list[int]:
    """Return the sorted positions of as many headlines as fit, in order of priority.

    Args:
        headlines: Descriptions of the headlines.
        order: Positions in order of priority.
        n_bytes: Available size.
        measure: Function that returns the size of a picture in bytes.
    """
    kept: list[int] = []
    seen: set[str] = set()
    for position in order:
        refs = set(list_refs(headlines[position])) - seen
        n_bytes -= len(to_json(headlines[position])) + sum(measure(ref) + 12 for ref in refs)
        if n_bytes < 0:
            break
        seen |= refs
        kept.append(position)
    return sorted(kept)
