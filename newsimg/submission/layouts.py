"""How the benchmark wants folders and pictures named, in both of its layouts."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from newsimg.storage.text.suggest import check_choices

LAYOUTS = (2025, 2026)
SIZES = ("SMALL", "LARGE")
ALL = "ALL"  # 2026's one set of articles, which no name mentions
PICTURE_SIZE = (460, 260)
# Letters that mean nothing special to any file system or shell; so "../../x" is no name.
SAFE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


def check_name(what: str, name: object) -> str:
    """Return `name`, or refuse one that is not safe as part of a file name.

    Raises:
        ValueError: If it is not up to 100 ASCII letters, digits, dots, hyphens and underscores, of
            which the first and the last are letters or digits.
    """
    if not isinstance(name, str) or not SAFE.fullmatch(name):
        raise ValueError(
            f"{what} must be safe as a file name (up to 100 ASCII letters, digits, '.', '_' and "
            f"'-', a letter or digit at both ends), got {name!r}"
        )
    return name


def find_clash(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two names that are one where file names ignore case."""
    seen: dict[str, str] = {}
    for name in names:
        if (folded := name.casefold()) in seen:
            return seen[folded], name
        seen[folded] = name
    return None


def name_folder(layout: int, group: str, approach: str, size: str) -> str:
    """Return the folder of a run's pictures; `size` is SMALL or LARGE in 2025, ALL in 2026."""
    if layout == 2025:
        return f"{group}/RET_{approach}_{size}"
    return f"{group}_{approach}"


def name_picture(layout: int, group: str, approach: str, size: str, article_id: str) -> str:
    """Return the path of a picture within the zip."""
    return f"{name_folder(layout, group, approach, size)}/{article_id}_{group}_{approach}.png"


def find_subsets(
    layout: int, size: str, subset: str | Mapping[str, str | None] | None
) -> dict[str, Path | None]:
    """Return the file that lists the articles of each size; None for all that there are.

    Args:
        layout: 2025 or 2026.
        size: SMALL or LARGE; what `subset` is in 2025, if it is not a mapping.
        subset: A CSV of articles, in 2025 also one for each size.

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
