"""Ratings of pictures as arrays, and the graded judgements made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from newsimg.datatypes import Candidates, Collection, FusedArray, IntArray, Qrels, Rating
from newsimg.evaluation.ground_truth import match_ground_truth

GRADES_PER_POINT = 100  # a grade is a whole number, as TREC's tools need


@dataclass(frozen=True, eq=False)
class RatedPictures:
    """The rated pictures of some queries.

    Attributes:
        query_ids: (n_queries,) the queries, rated or not.
        image_ids: (n_pictures,) id of each rated picture; one picture of two queries counts twice.
        query: (n_pictures,) position of its query, ascending.
        picture: (n_ratings,) position of the picture that a rating is of.
        rater: (n_ratings,) position of the person; -1 if not known.
        value: (n_ratings,) the ratings.
        n_raters: Number of known people.
        low: Lowest rating of the scale, as far as it was used.
    """

    query_ids: Sequence[str]
    image_ids: Sequence[str]
    query: IntArray
    picture: IntArray
    rater: IntArray
    value: FusedArray
    n_raters: int
    low: float

    @cached_property
    def counts(self) -> IntArray:
        """(n_pictures,) number of ratings of each picture."""
        return np.bincount(self.picture, minlength=len(self.image_ids))

    @cached_property
    def means(self) -> FusedArray:
        """(n_pictures,) mean rating of each picture."""
        sums = np.bincount(self.picture, weights=self.value, minlength=len(self.image_ids))
        return sums / self.counts

    @cached_property
    def grades(self) -> IntArray:
        """(n_pictures,) hundredths of a point by which the mean exceeds the lowest rating."""
        return np.rint((self.means - self.low) * GRADES_PER_POINT).astype(np.int64)

    @cached_property
    def table(self) -> IntArray:
        """(n_queries, n_most) positions of each query's pictures, -1 at the end of shorter rows."""
        per_query = np.bincount(self.query, minlength=len(self.query_ids))
        table = np.full((len(self.query_ids), max(int(per_query.max(initial=0)), 1)), -1)
        first = np.cumsum(per_query) - per_query
        table[self.query, np.arange(len(self.query)) - first[self.query]] = np.arange(
            len(self.query)
        )
        return table

    @cached_property
    def is_rated(self) -> np.ndarray:
        """(n_queries,) whether any picture of the query is rated."""
        return self.table[:, 0] >= 0

    def sum_up(self, values: FusedArray) -> FusedArray:
        """Return the sum over each query's pictures: (n_rows, n_queries).

        Args:
            values: (n_rows, n_pictures)
        """
        from scipy import sparse  # slow import, not needed to validate a config

        n_pictures, cells = len(self.query), (np.arange(len(self.query)), self.query)
        of_query = sparse.coo_array((np.ones(n_pictures), cells), (n_pictures, len(self.query_ids)))
        return values @ of_query.tocsr()

    def to_qrels(self) -> Qrels:
        """Return graded judgements: query id -> image id -> grade, see `grades`."""
        qrels: dict[str, dict[str, int]] = {}
        for query, image_id, grade in zip(
            self.query.tolist(), self.image_ids, self.grades.tolist(), strict=True
        ):
            qrels.setdefault(self.query_ids[query], {})[image_id] = grade
        return qrels

    def describe(self) -> pd.DataFrame:
        """Return a row for each rated picture: its mean, number of ratings, spread and grade.

        The spread is the standard deviation between ratings, missing for a single one.
        """
        squares = np.bincount(
            self.picture,
            weights=(self.value - self.means[self.picture]) ** 2,
            minlength=len(self.image_ids),
        )
        several = self.counts > 1
        spread = np.where(several, np.sqrt(squares / np.where(several, self.counts - 1, 1)), np.nan)
        return pd.DataFrame(
            {
                "article_id": [self.query_ids[query] for query in self.query],
                "image_id": self.image_ids,
                "mean": self.means,
                "count": self.counts,
                "spread": spread,
                "grade": self.grades,
            }
        )

    def find_columns(self, candidates: Candidates) -> IntArray:
        """Return the column of each rated picture among its query's candidates, -1 if it is none.

        Args:
            candidates: Candidates of the queries, in any order.
        """
        columns = np.full(len(self.image_ids), -1)
        for query, positions in enumerate(self.table):
            ids = {self.image_ids[p]: p for p in positions.tolist() if p >= 0}
            if not ids:
                continue
            for column, row in enumerate(candidates.rows[query].tolist()):
                position = ids.get(candidates.images[row].image_id)
                if position is not None:
                    columns[position] = column
        return columns


def gather_ratings(collection: Collection, candidates: Candidates) -> RatedPictures:
    """Return the ratings of a collection's queries, with the ids of the searched pictures.

    Ids that are written differently are matched as those of the editors' pictures are, see
    `match_ground_truth`. The scale's lowest rating is that of all ratings, also of other queries.

    Args:
        collection: The queries and the ratings.
        candidates: Their candidates.

    Raises:
        ValueError: If there are no ratings of these queries.
    """
    if not collection.ratings:
        raise ValueError(
            f"{collection.name} has no ratings: data.ratings=FILE names them, and newsimg "
            "task=ratings writes such a file"
        )
    position = {query.query_id: i for i, query in enumerate(collection.queries)}
    own = [rating for rating in collection.ratings if rating.article_id in position]
    if not own:
        known, wanted = collection.ratings[0].article_id, next(iter(position), "")
        raise ValueError(
            f"none of the ratings is of the {len(position)} headlines: they are of articles like "
            f"{known!r}, the headlines have ids like {wanted!r}"
        )
    return arrange_ratings(
        _match(own, collection, candidates), list(position), find_low(collection)
    )


def find_low(collection: Collection) -> float:
    """Return the lowest of all ratings."""
    return min(rating.value for rating in collection.ratings)


def arrange_ratings(
    ratings: Sequence[Rating], query_ids: Sequence[str], low: float
) -> RatedPictures:
    """Return ratings as arrays.

    Args:
        ratings: The ratings, all of these queries.
        query_ids: The queries.
        low: Lowest rating of the scale.
    """
    position = {query_id: i for i, query_id in enumerate(query_ids)}
    given = [(position[rating.article_id], rating.image_id) for rating in ratings]
    keys = sorted(set(given))
    place = {key: i for i, key in enumerate(keys)}
    names = dict.fromkeys(rating.rater for rating in ratings if rating.rater)
    people = {name: i for i, name in enumerate(names)}
    return RatedPictures(
        query_ids=query_ids,
        image_ids=[image_id for _, image_id in keys],
        query=np.array([query for query, _ in keys], np.int64),
        picture=np.array([place[key] for key in given], np.int64),
        rater=np.array([people.get(rating.rater, -1) for rating in ratings], np.int64),
        value=np.array([rating.value for rating in ratings], np.float64),
        n_raters=len(people),
        low=low,
    )


def _match(
    ratings: Sequence[Rating], collection: Collection, candidates: Candidates
) -> list[Rating]:
    """Return ratings with the ids of the searched pictures, where they differ."""
    numbers: dict[str, dict[str, int]] = {}
    for rating in ratings:
        own = numbers.setdefault(rating.article_id, {})
        own.setdefault(rating.image_id, len(own))
    # Each id's judgement is its number, by which the matched id is found again.
    matched = match_ground_truth(replace(collection, qrels=numbers), candidates).qrels or {}
    names = {
        article_id: {number: image_id for image_id, number in own.items()}
        for article_id, own in matched.items()
    }
    return [
        replace(
            rating, image_id=names[rating.article_id][numbers[rating.article_id][rating.image_id]]
        )
        for rating in ratings
    ]
