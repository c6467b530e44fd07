"""Pages as single HTML files: styles, modules and data are written into a template."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGES = Path(__file__).parent
STYLE, SCRIPT, DATA = "/*STYLE*/", "/*SCRIPT*/", "/*DATA*/"
IMPORT = re.compile(r'^import\s[^;]*?from\s+"\./([\w.-]+)";\n', re.MULTILINE)
INCLUDE = re.compile(r"<!-- include ([\w.]+) -->\n")
EXPORT = re.compile(r"^export\s+", re.MULTILINE)


def fill_page(template: str, styles: Sequence[str], scripts: Sequence[str], data: Any) -> str:
    """Return a self-contained page.

    Args:
        template: Name of an HTML file of this folder with /*STYLE*/ in its style element,
            /*SCRIPT*/ in a script element of type module and /*DATA*/ in one of type
            application/json.
        styles: Names of CSS files of this folder, in order.
        scripts: Names of JavaScript modules of this folder; the modules that they import precede
            them.
        data: Content of the data element, as JSON.

    Raises:
        ValueError: If the template lacks a place.
    """
    text = read_part(template)
    if lacking := [place for place in (STYLE, SCRIPT, DATA) if text.count(place) != 1]:
        raise ValueError(f"{template} must have {lacking[0]} once, got {text.count(lacking[0])}")
    parts = {
        STYLE: "\n".join(map(read_part, styles)),
        SCRIPT: join_modules(scripts),
        DATA: to_json(data),
    }
    # All at once: a place that occurs in the data is not filled.
    return re.sub("|".join(map(re.escape, parts)), lambda found: parts[found[0]], text)


def join_modules(names: Sequence[str]) -> str:
    """Return modules and the modules that they import, these first, as one module.

    Import and export statements are removed, so top-level names must be unique among the modules.
    """
    joined: dict[str, str] = {}

    def add(name: str) -> None:
        if name in joined:
            return
        text = read_part(name)
        for imported in IMPORT.findall(text):
            add(imported)
        joined[name] = EXPORT.sub("", IMPORT.sub("", text))

    for name in names:
        add(name)
    return "\n".join(joined.values())


def read_part(name: str) -> str:
    """Return the text of a file of this folder; see `include_parts`."""
    return include_parts((PAGES / name).read_text(encoding="utf-8"))


def include_parts(text: str) -> str:
    """Replace the lines `<!-- include NAME -->` by the files of this folder."""
    return INCLUDE.sub(lambda found: read_part(found[1]), text)


def to_json(data: Any) -> str:
    """Return JSON in ASCII that is safe inside a script element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def drop_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None or empty; 0 and False are kept."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and not (isinstance(value, str | Sequence | Mapping) and not value)
    }
