"""How recent a picture was when the article was published."""

import logging
from collections.abc import Sequence
from datetime import date

import numpy as np

from newsimg.datatypes import Candidates, Query, RerankScores
from newsimg.interfaces import Reranker
from newsimg.reranker.metadata.base import fill_with_mean
from newsimg.storage.metadata.fields import to_iso_date
from newsimg.storage.metadata.word_index import get_text
from newsimg.storage.text.templates import warn_empty

log = logging.getLogger(__name__)

TOLERANCE = 1  # days that a picture may be later than its article, as time zones differ


class RecencyReranker(Reranker):
    """Scores a candidate by `0.5 ** (age / half_life)`, its age in days at the article's date.

    Li and Croft (2003), "Time-based language models", CIKM, whose prior is exponential too. A
    picture that is later than the article by more than a day did not exist then and gets 0. Where
    a date is unknown, a candidate gets the mean of the others of its headline; the metrics
    `without_date` and `articles_without_date` count distinct pictures and headlines.

    Args:
        half_life: Days after which the score is halved.
        date_column: Column of the articles' dates, in any form of ISO, EXIF or IPTC.

    Raises:
        ValueError: If `half_life` is not above 0.
    """

    def __init__(self, *, half_life: float, date_column: str) -> None:
        if not half_life > 0:
            raise ValueError(f"reranker.half_life must be above 0, got {half_life}")
        self.half_life = float(half_life)
        self.date_column = date_column

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`.

        Raises:
            ValueError: If no article has the column.
        """
        undated = [query for query in queries if self.date_column not in dict(query.columns)]
        if any(query.typed for query in undated):
            warn_empty("reranker.date_column", f"{{{self.date_column}}}")
        elif len(undated) == len(queries):
            known = sorted({name for query in queries for name, _ in query.columns})
            raise ValueError(
                f"reranker.date_column={self.date_column} is no column of the articles, which have "
                f"{', '.join(known) or 'no further columns'}"
            )
        rows, where = np.unique(candidates.rows, return_inverse=True)
        taken = np.array([_to_days(get_text(candidates.images[row], "date")) for row in rows])
        published = np.array(
            [_to_days(dict(one.columns).get(self.date_column, "")) for one in queries]
        )
        ages = published[:, None] - taken[where].reshape(candidates.rows.shape)
        values = np.where(ages < -TOLERANCE, 0, 0.5 ** (np.maximum(ages, 0) / self.half_life))
        counts = {
            "without_date": int(np.isnan(taken).sum()),
            "articles_without_date": int(np.isnan(published).sum()),
        }
        return RerankScores(fill_with_mean(values, ~np.isnan(ages)), metrics=counts)


def _to_days(text: str) -> float:
    """Return a date as a number of days; a month is its first day; not a number if unknown."""
    found = to_iso_date(text)
    if not found:
        return np.nan
    return float(date.fromisoformat((found[:10] + "-01-01")[:10]).toordinal())
