"""Warning about texts longer than the backbone's context."""

import logging
from collections.abc import Sequence
from textwrap import shorten

from newsimg.interfaces import Backbone

log = logging.getLogger(__name__)


def find_truncated(backbone: Backbone, texts: Sequence[str], what: str) -> list[bool]:
    """Return which texts the backbone truncates, and log a warning if there are any.

    Args:
        backbone: The backbone.
        texts: Texts to embed.
        what: Plural noun for the texts in the warning.
    """
    return warn_truncated(backbone.find_truncated(texts), texts, what)


def warn_truncated(
    truncated: list[bool], texts: Sequence[str], what: str, limit: str = "backbone.text_length"
) -> list[bool]:
    """Log a warning if texts are truncated, and return the flags; see `find_truncated`.

    Args:
        truncated: Whether each text is truncated.
        texts: The texts.
        what: Plural noun for the texts in the warning.
        limit: What they are longer than.
    """
    if any(truncated):
        first = shorten(texts[truncated.index(True)], 200, placeholder="...")
        log.warning(
            "%d of %d %s are longer than %s and are truncated, the first: %r",
            *(sum(truncated), len(texts), what, limit, first),
        )
    return truncated
