"""Folder and file names of a submission, in both layouts of the benchmark."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from newsimg.storage.text.suggest import check_choices

LAYOUTS = (2025, 2026)
SIZES = ("SMALL", "LARGE")
ALL = "ALL"  # the single set of articles of 2026, which is not part of any name
PICTURE_SIZE = (460, 260)
# Characters without special meaning to any file system or shell; excludes "../../x".
SAFE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


def check_name(what: str, name: object) -> str:
    """Return `name` after checking that it is safe as part of a file name.

    Raises:
        ValueError: If it is not a string of up to 100 ASCII letters, digits, dots, hyphens and
            underscores that starts and ends with a letter or digit.
    """
    if not isinstance(name, str) or not SAFE.fullmatch(name):
        raise ValueError(
            f"{what} must be safe as a file name (up to 100 ASCII letters, digits, '.', '_' and "
            f"'-', a letter or digit at both ends), got {name!r}"
        )
    return name


def find_clash(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two names that are equal on a case-insensitive file system, or None."""
    seen: dict[str, str] = {}
    for name in names:
        if (folded := name.casefold()) in seen:
            return seen[folded], name
        seen[folded] = name
    return None


def name_folder(layout: int, group: str, approach: str, size: str) -> str:
    """Return the folder of a run; `size` is SMALL or LARGE in 2025, ALL in 2026."""
    if layout == 2025:
        return f"{group}/RET_{approach}_{size}"
    return f"{group}_{approach}"


def name_picture(layout: int, group: str, approach: str, size: str, article_id: str) -> str:
    """Return the path of a picture in the zip."""
    return f"{name_folder(layout, group, approach, size)}/{article_id}_{group}_{approach}.png"


def find_subsets(
    layout: int, size: str, subset: str | Mapping[str, str | None] | None
) -> dict[str, Path | None]:
    """Return the file that lists the articles of each size; None for all articles.

    Args:
        layout: 2025 or 2026.
        size: SMALL or LARGE, the size in 2025 of a `subset` that is not a mapping.
        subset: A CSV of articles, in 2025 also a mapping of sizes to CSVs.

    Raises:
        ValueError: If an argument is not one of its choices.
    """
    check_choices({"task.layout": (layout, LAYOUTS), "task.size": (size, SIZES)})
    if not isinstance(subset, Mapping):
        subset = {size if layout == 2025 else ALL: subset}
    elif layout != 2025 or not subset or not set(subset) <= set(SIZES):
        raise ValueError(
            "task.subset must be a file, or in layout 2025 a mapping of SMALL and LARGE to files, "
            f"got {dict(subset)} in layout {layout}"
        )
    return {name: Path(file).expanduser() if file else None for name, file in subset.items()}
