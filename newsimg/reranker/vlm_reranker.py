"""The probability that a model says yes to a picture for a headline."""

import logging
from collections.abc import Sequence

import numpy as np

from newsimg.datatypes import PICTURE_PLACE, Candidates, Query, RerankScores
from newsimg.interfaces import Reranker, VisionLanguageModel
from newsimg.reranker.vlm.questions import collect_questions, fill_question
from newsimg.storage.text.templates import (
    check_prompt_fields,
    check_query_fields,
    list_fields,
)

log = logging.getLogger(__name__)


class VLMReranker(Reranker):
    """Scores a candidate by `p(yes) / (p(yes) + p(no))` of a question with the headline.

    For models that were trained to judge relevance by one token, such as Qwen3-VL-Reranker and
    MonoQwen2-VL (the pointwise method of Nogueira et al. 2020, "Document ranking with a pretrained
    sequence-to-sequence model"), and for image-text matching heads.

    Metrics: `mass`, the mean probability of both answers; `unread`, the number of candidates for
    which both are 0 and which count as the mean of the others.

    Args:
        vlm: Vision-language model, or a matching model.
        question: Text with {title}, and {tags} or columns of the data; at {picture} the picture is
            shown, by default before the text.
        positive: The answer yes; one token of the model's.
        negative: The answer no; likewise.

    Raises:
        ValueError: If the question lacks {title} or the answers are equal.
    """

    def __init__(
        self, *, vlm: VisionLanguageModel, question: str, positive: str, negative: str
    ) -> None:
        if "{title}" not in question:
            raise ValueError(f"reranker.question must contain {{title}}, got {question!r}")
        check_prompt_fields(question, "reranker.question", ("picture",))
        if positive == negative:
            raise ValueError(
                f"reranker.positive and reranker.negative must differ, got {positive!r} for both"
            )
        self.vlm = vlm
        self.question = question
        self.answers = (positive, negative)

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Reranker.check_queries`."""
        check_query_fields(queries, list_fields(self.question) - {"picture"}, "reranker.question")

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`.

        Raises:
            ValueError: If the model gives neither answer for any candidate.
        """
        texts = [
            fill_question(self.question, query, {"picture": PICTURE_PLACE}, "reranker.question")
            for query in queries
        ]
        asked, (where,) = collect_questions([texts], candidates.rows)
        images = [candidates.images[row] for row in asked]
        questions = [list(own) for own in asked.values()]
        found = np.concatenate(self.vlm.ask(images, questions, self.answers))
        mass = np.nan_to_num(found.sum(axis=1, dtype=np.float64))
        readable = mass > 0
        if not readable.any():
            raise ValueError(
                f"no candidate is answered {self.answers[0]!r} or {self.answers[1]!r}, the "
                f"question being {self.question!r}"
            )
        scores = found[:, 0] / np.where(readable, mass, 1.0)
        scores = np.where(readable, scores, scores[readable].mean())
        if n_unread := int((~readable).sum()):
            log.warning("%d of %d answers are neither yes nor no", n_unread, len(readable))
        metrics = {"mass": float(mass.mean()), "unread": float(n_unread)}
        return RerankScores(scores[where].astype(np.float32), metrics=metrics)
