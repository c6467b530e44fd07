"""Similarity of a picture to captions that a language model writes for the headline."""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from newsimg.datatypes import Candidates, FloatArray, Query, RerankScores
from newsimg.interfaces import Backbone, LanguageModel, Reranker
from newsimg.reranker.captions import Captioner
from newsimg.storage.models.queries import check_queries
from newsimg.storage.models.truncated import find_truncated
from newsimg.storage.text.suggest import check_choice

log = logging.getLogger(__name__)

POOLS: dict[str, Callable[..., FloatArray]] = {"max": np.max, "mean": np.mean}


class LLMRewritingReranker(Reranker):
    """Scores a candidate by the maximum or mean cosine with the captions.

    A headline without captions keeps its retrieval scores. Metrics: `captions_missing` (headlines
    without captions), `captions_fewer` (headlines with fewer than `num_captions`) and
    `captions_truncated` (captions that exceed the backbone's text length).

    Args:
        backbone: Embeds captions and pictures; the run's backbone, whose embeddings are cached.
        llm: See `Captioner`.
        prompt: See `Captioner`.
        num_captions: See `Captioner`.
        seed: See `Captioner`.
        captions_path: See `Captioner`.
        pool: "max" or "mean" over a headline's captions.

    Raises:
        ValueError: If `pool` or an argument of the captioner is invalid.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        llm: LanguageModel | None,
        prompt: Mapping[str, str],
        num_captions: int,
        seed: int | None,
        captions_path: str | None,
        pool: str,
    ) -> None:
        check_choice("reranker.pool", pool, POOLS)
        self.backbone = backbone
        self.pool = pool
        self.captioner = Captioner(
            llm=llm,
            prompt=prompt,
            num_captions=num_captions,
            seed=seed,
            captions_path=captions_path,
        )

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Reranker.check_queries`."""
        self.captioner.check_queries(queries)
        check_queries(queries, self.backbone)

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`."""
        captions = [record["captions"] for record in self.captioner.caption(queries)]
        metrics: dict[str, float] = {
            **self.captioner.count(captions),
            "captions_per_query": sum(map(len, captions)) / len(captions),
            "captions_truncated": 0,
        }
        n_missing = metrics["captions_missing"]
        scores = candidates.parts["retrieval"].copy()
        if n_missing:
            log.warning(
                "%d of %d headlines have no captions and keep their retrieval scores",
                n_missing,
                len(captions),
            )
        if n_missing == len(captions):
            return RerankScores(scores, captions=captions, metrics=metrics)
        texts = list(dict.fromkeys(caption for own in captions for caption in own))
        position = {text: i for i, text in enumerate(texts)}
        truncated = find_truncated(self.backbone, texts, "captions")
        metrics["captions_truncated"] = sum(truncated)
        embedded = self.backbone.embed_texts(texts)
        rows, where = np.unique(candidates.rows, return_inverse=True)
        images = self.backbone.embed_images([candidates.images[row] for row in rows])
        where = where.reshape(candidates.rows.shape)
        best = np.full(scores.shape, -1, dtype=np.int64)
        for i, own in enumerate(captions):
            if own:
                cosines = embedded[[position[text] for text in own]] @ images[where[i]].T
                scores[i] = POOLS[self.pool](cosines, axis=0)
                best[i] = cosines.argmax(axis=0)
        return RerankScores(scores, captions=captions, metrics=metrics, best_captions=best)
