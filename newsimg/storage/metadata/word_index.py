"""BM25 scores of texts."""

import numpy as np

from newsimg.datatypes import FloatArray, Image
from newsimg.storage.metadata.fields import METADATA, split_words
from newsimg.storage.text.suggest import refuse_all, suggest


class WordIndex:
    """BM25 over a fixed collection of texts, in Lucene's form, whose scores are never negative.

    Robertson and Zaragoza (2009), "The probabilistic relevance framework: BM25 and beyond"; Lù
    (2024), "BM25S: orders of magnitude faster lexical search via eager sparse scoring",
    arXiv:2407.03618.

    Args:
        texts: The texts; case does not count, and words are not stemmed.
        k1: Saturation of repeated words.
        b: Normalisation by the length of a text, from 0 (none) to 1.

    Raises:
        ImportError: If bm25s is not installed.
    """

    def __init__(self, texts: list[str], k1: float, b: float) -> None:
        try:
            import bm25s
        except ImportError as error:
            raise ImportError("BM25 over metadata needs: pip install newsimg[metadata]") from error
        words = [split_words(text) for text in texts]
        self.n_texts = len(texts)
        self._bm25 = None
        if any(words):
            self._bm25 = bm25s.BM25(method="lucene", k1=k1, b=b)
            self._bm25.index(words, show_progress=False)

    def score(self, text: str) -> FloatArray:
        """Return the score of each text for the distinct words of a query: (n_texts,)."""
        words = list(dict.fromkeys(split_words(text)))
        if self._bm25 is None or not words:
            return np.zeros(self.n_texts, np.float32)
        return np.asarray(self._bm25.get_scores(words), np.float32)


def check_bm25(where: str, fields: list[str], k1: float, b: float) -> None:
    """Check settings of BM25 over metadata.

    Raises:
        ValueError: If a field is unknown or repeated, there is none, or a number is out of range.
    """
    check_fields(where, fields)
    if k1 < 0:
        raise ValueError(f"{where}.k1 must be at least 0, got {k1}")
    if not 0 <= b <= 1:
        raise ValueError(f"{where}.b must be in [0, 1], got {b}")


def check_fields(where: str, fields: list[str]) -> None:
    """Check a list of metadata fields.

    Raises:
        ValueError: If a field is unknown or repeated, or there is none.
    """
    if not fields or len(set(fields)) < len(fields):
        raise ValueError(f"{where}.fields must be a list of different fields, got {fields}")
    refuse_all(
        f"{where}.fields may have {', '.join(METADATA)}, got {field}{suggest(field, METADATA)}"
        for field in fields
        if field not in METADATA
    )


def get_text(image: Image, field: str) -> str:
    """Return a field of a picture's metadata, "" if unknown."""
    return (image.metadata or {}).get(field, "")
