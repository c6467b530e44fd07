"""Texts that are longer than a backbone reads."""

import logging
from collections.abc import Sequence
from textwrap import shorten

from newsimg.interfaces import Backbone

log = logging.getLogger(__name__)


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
