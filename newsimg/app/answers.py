"""What the search page is answered: a result as JSON, and its files."""

import csv
import io
from typing import Any

from newsimg.app.pictures import Pictures
from newsimg.app.session import Asked, HeadlineSearch, Scored
from newsimg.datatypes import Candidates
from newsimg.evaluation.metrics import format_run, to_run
from newsimg.reporting.pages.cards import Stages, list_refs
from newsimg.weight.base import LinearWeight

COLUMNS = ("rank", "rank_before", "image_id", "retrieval", "rerank", "fused")


def describe_result(
    search: HeadlineSearch, scored: Scored, pictures: Pictures, text_length: int | None
) -> dict[str, Any]:
    """Describe a result for all weights, so that the page sorts without asking again.

    Returns:
        `headline` and `components` as on other pages; `pictures`, by ref; `n_candidates`; and
        `normalised`: weight component -> normalised retrieval and rerank scores in the order of
        `headline.before`, of which the page computes the fused scores; None for a weight that is
        not linear, whose fused scores the page asks for.
    """
    retrieved, values = scored.retrieved, scored.scores.values
    top_k = retrieved.rows.shape[1]
    name = next(iter(search.weights))
    weight = search.find_weight(name, 0.0)
    stages = Stages(
        *(scored.collection, retrieved, search.fuse(scored, name, 0.0), scored.scores, weight),
        text_length,
        n_shown=top_k,
    )
    headline = stages.describe(0)
    images = scored.retrieved.images
    refs = list(dict.fromkeys(list_refs(headline)))
    links = pictures.add(images[int(ref)] for ref in refs)
    return {
        "headline": headline,
        "components": list(scored.scores.components),
        "pictures": {ref: links[images[int(ref)].image_id] for ref in refs},
        "n_candidates": top_k,
        "normalised": {
            name: [
                one.normalize(scores)[0].tolist()
                for scores in (retrieved.parts["retrieval"], values)
            ]
            if isinstance(one, LinearWeight)
            else None
            for name, one in search.weights.items()
        },
    }


def list_fused(search: HeadlineSearch, scored: Scored, weight: str, value: float) -> list[float]:
    """Return the fused scores in the order of retrieval."""
    chosen = search.find_weight(weight, value)
    fused = chosen.combine(scored.retrieved.parts["retrieval"], scored.scores.values)
    return [float(score) for score in fused[0]]


def write_csv(retrieved: Candidates, reranked: Candidates) -> str:
    """Return a CSV with a row for each candidate, best first: ranks, scores, and components."""
    before = {row: rank for rank, row in enumerate(retrieved.rows[0].tolist(), start=1)}
    components = [name for name in reranked.parts if name not in ("retrieval", "rerank")]
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([*COLUMNS, *components])
    for i, row in enumerate(reranked.rows[0].tolist()):
        scores = [reranked.parts[name][0, i] for name in ("retrieval", "rerank")]
        scores += [reranked.scores[0, i], *(reranked.parts[name][0, i] for name in components)]
        ids = [i + 1, before[row], reranked.images[row].image_id]
        writer.writerow([*ids, *(repr(score.item()) for score in scores)])
    return file.getvalue()


def write_trec(scored: Scored, reranked: Candidates) -> str:
    """Return the candidates as a TREC run, as `task=infer` writes it."""
    return format_run(to_run(scored.collection.queries, reranked), "newsimg")


def name_file(asked: Asked, kind: str) -> str:
    """Return the name of an exported file: the first words of the headline."""
    letters = [letter if letter.isalnum() else "-" for letter in asked.headline.lower()[:60]]
    words = [word for word in "".join(letters).split("-") if word]
    return f"{'-'.join(words) or 'similar'}.{kind}"
