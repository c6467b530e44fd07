"""Filters on the metadata of pictures, and searches restricted by them."""

from pathlib import Path

import numpy as np
import pytest

from newsimg.datatypes import Image, PictureFilter, Query
from newsimg.index.faiss_index import FaissIndex
from newsimg.pipeline import search_rows
from newsimg.storage.metadata.filters import find_matching, make_filter, matches

FERRY = {
    "title": "Ferry in storm",
    "caption": "The harbour of Älvsund, closed",
    "keywords": "ferry, storm damage",
    "date": "2020-01-31T10:00:00",
    "credit": "Kestrel Media",
    "licence": "CC BY 4.0",
    "author": "Ada Émile",
}


def describe(metadata: dict[str, str]) -> Image:
    return Image("harbour/7", Path("somewhere/Storm_07.JPG"), metadata=metadata)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, True),
        ({"licence": ["cc-by"]}, True),
        ({"licence": ["CC-BY-NC", "CC BY 4.0"]}, True),
        ({"licence": "CC BY-NC"}, False),
        ({"licence": "CC BY 3.0"}, False),
        ({"licence": "https://creativecommons.org/licenses/by/4.0/deed.de"}, True),
        ({"after": "2020-01-31", "before": "2020-01-31"}, True),
        ({"after": "2020-02"}, False),
        ({"after": "2020"}, True),
        ({"before": "2020-01-30"}, False),
        ({"source": ["kestrel media"]}, True),
        ({"source": ["Kestrel"]}, False),
        ({"author": ["ada ÉMILE", "Bo"]}, True),
        ({"author": ["Ada"]}, False),
        ({"name": ["storm_0"]}, True),
        ({"name": ["HARBOUR/"]}, True),
        ({"name": ["somewhere"]}, False),
        ({"words": ["FERRY", "Älvsund"]}, True),
        ({"words": ["storm damage"]}, True),
        ({"words": ["damage storm"]}, False),
        ({"words": ["ferr"]}, False),
        ({"words": ["ferry", "fire"]}, False),
        ({"words": ["ferry"], "licence": ["CC0"]}, False),
    ],
)
def test_all_conditions_of_a_filter_are_met(values: dict[str, object], expected: bool) -> None:
    assert matches(describe(FERRY), make_filter(values)) is expected


@pytest.mark.parametrize(
    "values",
    [{"licence": "CC0"}, {"after": "2020"}, {"before": "2020"}, {"source": "a"}, {"author": "a"}],
)
def test_a_picture_without_the_value_does_not_match(values: dict[str, object]) -> None:
    assert not matches(describe({}), make_filter(values))
    assert matches(describe({}), None)


def test_addresses_of_creative_commons_are_licences() -> None:
    zero = {"licence": "http://creativecommons.org/publicdomain/zero/1.0/"}
    assert matches(describe(zero), PictureFilter(licence=("CC0",)))
    assert matches(describe({"licence": "CC0 1.0"}), PictureFilter(licence=(zero["licence"],)))
    assert not matches(describe({"licence": "CC BY-SA 4.0"}), PictureFilter(licence=("CC BY",)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"license": "CC0"}, "data.filter takes licence, source, .*got license; did you mean"),
        ({"after": "soon"}, "data.filter.after must be a date such as 2020-01-31, got 'soon'"),
        ({"words": []}, r"data.filter.words must be a list of texts, got \[\]"),
        ({"words": [{"a": 1}]}, "data.filter.words must be a list of texts"),
    ],
)
def test_a_wrong_filter_is_explained(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_filter(values)


@pytest.mark.parametrize("share", [0.5, 0.02])
def test_a_restricted_search_is_that_of_an_index_of_these_rows(share: float) -> None:
    random = np.random.default_rng(1)
    images = random.standard_normal((2000, 16)).astype(np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    queries = images[random.choice(2000, 100)] * 0.9
    index = FaissIndex(factory="Flat")
    index.build(images)
    searched = np.flatnonzero(random.random(2000) < share)
    scores, rows = search_rows(index, [Query("q", "")] * 100, queries, 10, len(images), searched)
    exact = queries @ images[searched].T
    best = np.argsort(-exact, axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(rows, searched[best])
    np.testing.assert_allclose(scores, np.take_along_axis(exact, best, axis=1), atol=1e-6)


def test_rows_that_match_are_found_by_given_metadata_without_reading_pictures() -> None:
    images = [Image(str(i), Path("nowhere"), metadata={"licence": f"L{i}"}) for i in range(3)]
    assert find_matching(images, PictureFilter(licence=("L0", "L2"))) == [0, 2]
