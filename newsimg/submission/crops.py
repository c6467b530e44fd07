"""Crops chosen by hand: a JSON file that the preview page saves and `task.crops` reads."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from newsimg.reporting.results import Results
from newsimg.storage.text.suggest import suggest
from newsimg.submission.build import Entry
from newsimg.submission.rendering import CROPS, Crop

log = logging.getLogger(__name__)

VERSION = 1
FIELDS = ("run", "article_id", "image_id", "crop")

Crops = Mapping[tuple[str, str, str], Crop]
"""Run, article id and image id -> crop."""


def read_crops(path: Path, runs: Mapping[str, Results]) -> Crops:
    """Read a file of crops: `{"version": 1, "crops": [{run, article_id, image_id, crop}, ...]}`.

    `crop` is a mode, or a box [left, top, right, bottom] in fractions of the upright picture.

    Args:
        path: The file.
        runs: Approach -> its results.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not such a file, or names a run, an article or a picture that is not
            in the results.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no file of crops {path}; task.crops is the crops.json saved on submission.html"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("crops"), list):
        raise ValueError(f'{path} must be {{"version": {VERSION}, "crops": [...]}}')
    if content.get("version") != VERSION:
        raise ValueError(f"{path}: version must be {VERSION}, got {content.get('version')!r}")
    crops: dict[tuple[str, str, str], Crop] = {}
    for number, row in enumerate(content["crops"], start=1):
        try:
            key, crop = read_row(row, runs)
            if key in crops:
                raise ValueError(f"a second crop of run, article and image {key}")
        except ValueError as error:
            raise ValueError(f"{path}, crop {number}: {error}") from error
        crops[key] = crop
    return crops


def read_row(row: Any, runs: Mapping[str, Results]) -> tuple[tuple[str, str, str], Crop]:
    """Return the key and the crop of a row of the file.

    Raises:
        ValueError: See `read_crops`.
    """
    if not isinstance(row, dict) or set(row) != set(FIELDS):
        got = sorted(row) if isinstance(row, dict) else row
        raise ValueError(f"must have the keys {', '.join(FIELDS)}, got {got}")
    run, article_id, image_id = (row[name] for name in FIELDS[:3])
    for name in FIELDS[:3]:
        if not isinstance(row[name], str):
            raise ValueError(f"{name} must be a string, got {row[name]!r}")
    if run not in runs:
        raise ValueError(
            f"unknown run {run!r}{suggest(run, runs)}; task.runs has {', '.join(runs)}"
        )
    results = runs[run]
    if article_id not in results:
        raise ValueError(f"run {run} has no article {article_id!r}{suggest(article_id, results)}")
    known = [choice.image.image_id for choice in results[article_id]]
    if image_id not in known:
        raise ValueError(
            f"run {run} has no image {image_id!r} for article {article_id!r}"
            f"{suggest(image_id, known)}"
        )
    return (run, article_id, image_id), read_crop(row["crop"])


def read_crop(value: Any) -> Crop:
    """Return a mode or a box after checking it, except for the box's proportions.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(value, str) and value in CROPS:
        return value
    if (
        not isinstance(value, list)
        or len(value) != 4
        or not all(type(number) in (int, float) and 0 <= number <= 1 for number in value)
    ):
        raise ValueError(
            f"crop must be one of {', '.join(CROPS)}, or a box [left, top, right, bottom] in "
            f"fractions of the picture, got {value!r}"
        )
    left, top, right, bottom = map(float, value)
    if left >= right or top >= bottom:
        raise ValueError(f"a box must have left < right and top < bottom, got {value}")
    return left, top, right, bottom


def apply_crops(
    entries: Sequence[Entry], default: str, crops: Crops
) -> tuple[list[Entry], list[tuple[str, str, str]]]:
    """Return the entries with their crops, and the keys of crops of pictures not chosen.

    Args:
        entries: The pictures.
        default: Crop of the entries that have none of their own.
        crops: Crops by run, article and image.
    """
    keys = [(e.approach, e.article_id, e.choice.image.image_id) for e in entries]
    cropped = [
        replace(entry, crop=crops.get(key, default))
        for entry, key in zip(entries, keys, strict=True)
    ]
    chosen = set(keys)
    unused = [key for key in crops if key not in chosen]
    for run, article_id, image_id in unused:
        log.warning(
            "the crop of %s is not used: run %s no longer chooses it for article %s",
            *(image_id, run, article_id),
        )
    return cropped, unused
