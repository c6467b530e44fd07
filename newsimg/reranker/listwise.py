"""An order of the candidates by a vision-language model that sees several of them at once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from newsimg.datatypes import Candidates, Image, Query, RerankScores
from newsimg.interfaces import VisionLanguageModel
from newsimg.reranker.vlm.picture_lists import N_TRIED, PictureListReranker
from newsimg.reranker.vlm.windows import Window, list_windows
from newsimg.reranker.vlm.written_orders import is_order

log = logging.getLogger(__name__)

ALLOWED_ORDERS = (1, 2)
TOKENS_PER_PICTURE, TOKENS_AROUND = 8, 32  # of an answer: "[12] > " and words around the order
LONGEST_SHOWN = 60  # letters of an answer in a message


class ListwiseReranker(PictureListReranker):
    """Scores candidates by the order in which a model puts several pictures of one prompt.

    Candidates in one window are put in order, beginning with the last ones; then the window moves
    up by `stride`, so that the best pictures of a window are compared with those before it (Sun et
    al. 2023, "Is ChatGPT good at search? Investigating large language models as re-ranking
    agents", EMNLP; with pictures Liu et al. 2025, "LamRA: Large multimodal model as your advanced
    retrieval assistant", CVPR). The first window begins at the first candidate and is as long as
    the others. A candidate scores `1 - rank / n`, with ranks from 0 among its query's n candidates.

    Models prefer some places in a prompt. With `n_orders=2` each window is also shown in reversed
    order, and the mean of both ranks decides (Tang et al. 2024, "Found in the middle: Permutation
    self-consistency improves listwise ranking in large language models", NAACL, with two
    permutations and the mean).

    Pictures that an answer leaves out follow the named ones and keep their order, as do all of a
    window whose answers hold no order; see `read_order`.

    Metrics: `unread`, the number of answers that hold no order; `unnamed`, the number of pictures
    that the others leave out.

    Args:
        vlm: See `PictureListReranker`.
        question: See `PictureListReranker`.
        window: See `PictureListReranker`.
        stride: Positions by which the window moves; smaller than the window.
        n_orders: 1, or 2 to show each window in both directions.
        max_side: See `PictureListReranker`.

    Raises:
        ValueError: If an argument is invalid; names it.
    """

    def __init__(
        self,
        *,
        vlm: VisionLanguageModel,
        question: str,
        window: int,
        stride: int,
        n_orders: int,
        max_side: int,
    ) -> None:
        super().__init__(vlm=vlm, question=question, window=window, max_side=max_side)
        if not 1 <= stride < window:
            raise ValueError(
                f"reranker.stride must be in [1, {window - 1}], below reranker.window, got {stride}"
            )
        if n_orders not in ALLOWED_ORDERS:
            raise ValueError(f"reranker.n_orders must be 1 or 2, got {n_orders}")
        self.stride = stride
        self.n_orders = n_orders

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`.

        Raises:
            ValueError: If none of the first answers holds an order.
        """
        orders = [list(dict.fromkeys(rows)) for rows in candidates.rows.tolist()]
        spans = [list_windows(len(order), self.window, self.stride) for order in orders]
        counts = Counts()
        written: list[dict[int, str]] = [{} for _ in orders]
        for step in range(max(map(len, spans), default=0)):
            windows = [
                Window(i, orders[i][slice(*own[step])]) for i, own in enumerate(spans) if own[step:]
            ]
            self._order(windows, queries, candidates.images, counts)
            for window in windows:
                orders[window.query][slice(*spans[window.query][step])] = window.merge()
                written[window.query] |= window.describe()
        counts.warn(self.vlm.repeatable)
        values = np.empty(candidates.rows.shape, np.float32)
        texts = np.empty(candidates.rows.shape, dtype=object)
        for i, (order, rows) in enumerate(zip(orders, candidates.rows.tolist(), strict=True)):
            values[i] = [1 - order.index(row) / len(order) for row in rows]
            texts[i] = [written[i].get(row, "") for row in rows]
        metrics = {"unread": float(counts.n_unread), "unnamed": float(counts.n_unnamed)}
        return RerankScores(values, metrics=metrics, explanations={"order": texts})

    def _order(
        self,
        windows: Sequence[Window],
        queries: Sequence[Query],
        images: Sequence[Image],
        counts: "Counts",
    ) -> None:
        """Show windows, in one order or both, and add the answers to them."""
        by_length: dict[int, list[tuple[Window, list[int]]]] = {}
        for window in windows:
            for rows in (window.rows, window.rows[::-1])[: self.n_orders]:
                by_length.setdefault(len(rows), []).append((window, rows))
        for n_pictures, shown in by_length.items():
            n_tried = 0 if counts.n_answers else N_TRIED
            for batch in filter(None, (shown[:n_tried], shown[n_tried:])):
                answers = self.vlm.compare(
                    [[images[row] for row in rows] for _, rows in batch],
                    [self.fill(queries[window.query], n_pictures) for window, _ in batch],
                    self.max_side,
                    TOKENS_PER_PICTURE * self.window + TOKENS_AROUND,
                    is_answer=partial(is_order, n_pictures=n_pictures),
                )
                for (window, rows), answer in zip(batch, answers, strict=True):
                    counts.add(window.add(rows, answer), n_pictures)
                counts.check(answers[0])


@dataclass
class Counts:
    """Numbers of answers, of those without an order, and of pictures that the others leave out."""

    n_answers: int = 0
    n_unread: int = 0
    n_unnamed: int = 0

    def add(self, n_named: int | None, n_shown: int) -> None:
        """Count an answer that names `n_named` of the shown pictures; None if it has no order."""
        self.n_answers += 1
        self.n_unread += n_named is None
        self.n_unnamed += 0 if n_named is None else n_shown - n_named

    def check(self, example: str) -> None:
        """Raise ValueError if no answer holds an order; `example` is one of them."""
        if self.n_unread == self.n_answers:
            shown = example if len(example) <= LONGEST_SHOWN else f"{example[:LONGEST_SHOWN]}..."
            raise ValueError(
                f"none of {self.n_answers} answers holds an order such as [2] > [1] > [3], one "
                f"being {shown!r}: reranker=listwise needs a model that compares several "
                "pictures in one prompt, such as vlm=qwen3_vl_4b"
            )

    def warn(self, repeatable: bool) -> None:
        """Warn about answers without an order and about pictures left out."""
        if self.n_unread:
            log.warning(
                "%d of %d answers hold no order, and their pictures keep the one before%s",
                self.n_unread,
                self.n_answers,
                "" if repeatable else "; the next run asks again for what it lacks",
            )
        if self.n_unnamed:
            log.warning(
                "%d pictures are left out by the answers about them, and follow the named ones in "
                "the order before",
                self.n_unnamed,
            )
