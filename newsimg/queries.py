"""From a query to the text that a backbone embeds."""

import logging
import re
from collections.abc import Sequence
from string import Formatter
from textwrap import shorten

from newsimg.datatypes import Query
from newsimg.interfaces import Backbone

log = logging.getLogger(__name__)

QUOTED = re.compile(r"""(["'])(?:(?!\1)[^\\]|\\.)*\1""", re.DOTALL)

FIELDS = ("title", "tags", "people", "organisations")


def check_template(template: str) -> str:
    """Return `template`, or refuse one that names an unknown field or none at all.

    Raises:
        ValueError: If the template is not made of the known fields.
    """
    try:
        names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError:  # a brace without its partner
        names = set()
    if not names or names - set(FIELDS):
        raise ValueError(
            f"query_template must use fields of {', '.join('{' + name + '}' for name in FIELDS)}, "
            f"got {template!r}"
        )
    return template


def render_queries(queries: Sequence[Query], template: str) -> list[str]:
    """Fill `template` for each query; tags are people, then organisations, joined by ', '."""
    return [
        template.format(
            title=query.title,
            tags=", ".join(query.people + query.organisations),
            people=", ".join(query.people),
            organisations=", ".join(query.organisations),
        ).strip()
        for query in queries
    ]


def find_truncated(backbone: Backbone, texts: Sequence[str], what: str) -> list[bool]:
    """Tell which texts the backbone reads only the beginning of, and warn if there are any.

    Args:
        backbone: Reads them.
        texts: What it is to embed.
        what: Names them in the warning.
    """
    truncated = backbone.find_truncated(texts)
    if any(truncated):
        first = shorten(texts[truncated.index(True)], 200, placeholder="...")
        log.warning(
            "%d of %d %s are longer than the backbone reads (backbone.text_length) and are cut, "
            "the first: %r",
            *(sum(truncated), len(texts), what, first),
        )
    return truncated


def quote_headline(argument: str) -> str:
    """Quote the headline of `query=...` for Hydra, to which commas and brackets have a meaning.

    A headline that is in quotes already, or null, is left as it is.
    """
    key, _, text = argument.partition("=")
    if key != "query" or text in ("", "null") or QUOTED.fullmatch(text):
        return argument
    return f"{key}={quote_text(text)}"


def quote_text(text: str) -> str:
    """Put a text into Hydra's quotes, in which it stands for itself whatever it holds."""
    # In Hydra's quotes a backslash means something only in front of a quote, or of "${".
    escaped = re.sub(
        r"(\\*)(\"|$)", lambda found: found[1] * 2 + found[2].replace('"', '\\"'), text
    )
    escaped = escaped.replace("${", "\\${")
    return f'"{escaped}"'
