"""Result classes of the Python call, with HTML for notebooks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

import pandas as pd

from newsimg.datatypes import Candidates, Collection, Image
from newsimg.reporting.results import list_rows
from newsimg.reporting.thumbnails import SCALES, encode_thumbnails

N_SHOWN = 5  # pictures of a headline in a notebook
MAX_HEADLINES = 20  # headlines in a notebook; `to_frame` has all
COLUMNS = ("article_id", "title", "rank", "image_id", "retrieval", "rerank", "fused", "uri")
CARD = (
    '<figure style="display:inline-block;margin:0 8px 8px 0;width:{width}px;'
    'vertical-align:top;font-size:12px">{picture}<figcaption>{rank}. {image_id}<br>{score:.4f}'
    "</figcaption></figure>"
)


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The pictures found for some headlines, best first.

    Attributes:
        collection: The headlines.
        candidates: Candidates after reranking: rows, scores and components.
    """

    collection: Collection
    candidates: Candidates

    def __len__(self) -> int:
        return len(self.collection.queries)

    def images(self, headline: int = 0) -> list[Image]:
        """Return the pictures of the headline at a position, best first."""
        return [self.candidates.images[row] for row in self.candidates.rows[headline]]

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each candidate: headline, rank, image, and the three scores."""
        rows = [
            row
            for position in range(len(self))
            for row in list_rows(position, self.collection, self.candidates, ())
        ]
        return pd.DataFrame(rows)[list(COLUMNS)]

    def __repr__(self) -> str:
        n_queries, top_k = self.candidates.rows.shape
        return f"SearchResult({n_queries} headlines, {top_k} pictures each)"

    def _repr_html_(self) -> str:
        return "".join(self._cards())

    def _cards(self) -> Iterator[str]:
        width, height, _ = SCALES[0]
        shown = [self.images(position)[:N_SHOWN] for position in range(len(self))][:MAX_HEADLINES]
        unique = list(dict.fromkeys(image for images in shown for image in images))
        thumbs = encode_thumbnails(unique, SCALES[0])
        for position, images in enumerate(shown):
            yield f"<p><b>{escape(self.collection.queries[position].title)}</b></p>"
            for rank, image in enumerate(images):
                picture = f'<div style="height:{height}px">cannot be read</div>'
                if thumbs[image]:
                    source = f"data:image/webp;base64,{thumbs[image]}"
                    size = f'width="{width}" height="{height}" style="object-fit:contain"'
                    picture = f'<img src="{source}" {size} alt="">'
                yield CARD.format(
                    width=width,
                    picture=picture,
                    rank=rank + 1,
                    image_id=escape(image.image_id),
                    score=float(self.candidates.scores[position, rank]),
                )
        if len(self) > MAX_HEADLINES:
            yield f"<p>... and {len(self) - MAX_HEADLINES} more headlines</p>"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        name: Short form of the config.
        metrics: What `task=evaluate` logs: "reranked/hits_at_1", "curve/best_weight" and so on.
        statistics: A row for each measure with `value`, `low`, `high` (95 %) and, for differences,
            `p`.
        queries: A row for each query: ranks before and after, outcome, every measure.
        curve: Measures over all weights; None if the normalisation has no exact curve.
    """

    name: str
    metrics: Mapping[str, float]
    statistics: pd.DataFrame
    queries: pd.DataFrame
    curve: pd.DataFrame | None

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each measure: retrieval, reranked, delta, its interval and p value."""
        stages = {
            stage: self.statistics.filter(like=f"{stage}/", axis="index").rename(
                lambda name: str(name).partition("/")[2]
            )
            for stage in ("retrieval", "reranked", "delta")
        }
        delta = stages["delta"]
        return pd.DataFrame(
            {stage: values["value"] for stage, values in stages.items()}
            | {"delta_low": delta["low"], "delta_high": delta["high"], "p": delta["p"]}
        )

    def __repr__(self) -> str:
        before, after = (self.metrics[f"{s}/hits_at_1"] for s in ("retrieval", "reranked"))
        return f"Evaluation({self.name}: Hits@1 {before:.4f} retrieval, {after:.4f} reranked)"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{self.to_frame().round(4).to_html()}"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several configs on the same queries.

    Attributes:
        table: A row for each config and measure: `config`, `measure`, `value`, `low`, `high` and,
            against the baseline, `difference`, `difference_low`, `difference_high`, `p`, which is
            corrected for the number of comparisons of that measure.
        baseline: The config that the others are compared with; None if there is none.
        correction: "holm" or None.
    """

    table: pd.DataFrame
    baseline: str | None
    correction: str | None

    def to_frame(self) -> pd.DataFrame:
        """Return `table`."""
        return self.table.copy()

    def __repr__(self) -> str:
        text: str = self.table.to_string(index=False, float_format="{:.4f}".format, na_rep="")
        return text

    def _repr_html_(self) -> str:
        return str(self.table.to_html(index=False, float_format="{:.4f}".format, na_rep=""))
