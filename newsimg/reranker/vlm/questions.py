"""Questions about candidates, each asked once per distinct picture."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from newsimg.datatypes import PICTURE_PLACE, IntArray, Query
from newsimg.storage.text.templates import fill_prompt

Asked = dict[int, dict[str, int]]
"""Row of a picture -> its questions -> their order."""


def collect_questions(
    texts: Sequence[Sequence[str]], rows: IntArray
) -> tuple[Asked, list[IntArray]]:
    """Collect the distinct questions about each distinct picture.

    Args:
        texts: For each kind of question its text for each query, (n_kinds, n_queries).
        rows: (n_queries, top_k) rows of the candidates.

    Returns:
        asked: The questions about each picture.
        where: For each kind (n_queries, top_k), positions in the list of all questions.
    """
    asked: Asked = {int(row): {} for row in np.unique(rows)}
    for own in texts:
        for text, candidates in zip(own, rows, strict=True):
            for row in candidates:
                asked[int(row)].setdefault(text, len(asked[int(row)]))
    sizes = [len(own) for own in asked.values()]
    start = dict(zip(asked, np.cumsum([0, *sizes[:-1]]), strict=True))
    where = [
        np.array(
            [
                [start[int(row)] + asked[int(row)][text] for row in candidates]
                for text, candidates in zip(own, rows, strict=True)
            ]
        )
        for own in texts
    ]
    return asked, where


def fill_question(template: str, query: Query, others: Mapping[str, object], key: str) -> str:
    """Fill a question about pictures; no value of the query is the place of one."""
    return fill_prompt(template, _drop_places(query), others, key)


def _drop_places(query: Query) -> Query:
    """Return the query without the character that stands for a picture."""

    def drop(text: str) -> str:
        return text.replace(PICTURE_PLACE, "")

    return replace(
        query,
        title=drop(query.title),
        people=tuple(map(drop, query.people)),
        organisations=tuple(map(drop, query.organisations)),
        columns=tuple((name, drop(value)) for name, value in query.columns),
    )
