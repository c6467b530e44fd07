"""The page of compared runs: every headline with the first pictures of each run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from newsimg.datatypes import Image
from newsimg.reporting.comparing.candidates import RunCandidates
from newsimg.reporting.comparing.pairs import Comparison, Pair, find_rank
from newsimg.reporting.pages.assemble import fill_page
from newsimg.reporting.pages.cards import N_SHOWN, shorten
from newsimg.reporting.pages.fitting import fit_page
from newsimg.storage.files import write_atomically

STYLES = ("base.css", "card.css", "viewer.css", "report.css", "comparison.css")
MAX_BYTES = 11_000_000


@dataclass(frozen=True)
class Head:
    """Contents of the page besides headlines and pictures.

    Attributes:
        facts: Description of the data.
        names: Name of each run.
        folders: Folder of each run.
        measures: Rows of the table of runs: `name` and `values`, [value, low, high] of each run.
        tests: Rows of the table of tests: `first`, `second`, `measure`, `value`, `low`, `high`,
            `p`.
        note: How the tests were made.
        differences: Option or key -> formatted value of each run.
        warning: Warning shown first; empty for none.
    """

    facts: Sequence[str]
    names: Sequence[str]
    folders: Sequence[str]
    measures: Sequence[Mapping[str, Any]] = ()
    tests: Sequence[Mapping[str, Any]] = ()
    note: str = ""
    differences: Mapping[str, Sequence[str]] | None = None
    warning: str = ""


def write_comparison(
    path: Path,
    runs: Sequence[RunCandidates],
    comparison: Comparison,
    pairs: Sequence[Pair],
    head: Head,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Write the page, with thumbnails as large as `max_bytes` allow.

    If even the smallest do not fit, it shows fewer headlines, those first for which a pair differs,
    and says so.

    Args:
        path: The HTML file.
        runs: The compared runs.
        comparison: Their headlines and editors' pictures.
        pairs: Pairs of runs that can be chosen on the page, the first of which is chosen.
        head: Further contents.
        max_bytes: Maximum size of the file.
    """
    images: dict[str, Image] = {}
    for run in runs:
        images = run.images | images
    refs = {image_id: str(position) for position, image_id in enumerate(images)}
    headlines = [describe_headline(i, runs, comparison, refs) for i in comparison.ids]
    page: dict[str, Any] = {
        "facts": list(head.facts),
        "warning": head.warning,
        "names": list(head.names),
        "folders": list(head.folders),
        "measures": list(head.measures),
        "tests": list(head.tests),
        "note": head.note,
        "differences": {name: list(values) for name, values in (head.differences or {}).items()},
        "pairs": [list(pair) for pair in pairs],
        "judged": bool(comparison.qrels),
        "depth": min(len(run.ranked[i]) for run in runs for i in comparison.ids),
        "n_headlines": len(headlines),
        "base": path.parent.absolute().as_uri() + "/",
    }
    differing = [differ(headline, pairs) for headline in headlines]
    order = sorted(range(len(headlines)), key=lambda position: not differing[position])
    budget = max_bytes - len(fill(page).encode())
    page |= fit_page(headlines, order, list(images.values()), path, budget)
    with write_atomically(path) as temporary:
        temporary.write_text(fill(page), encoding="utf-8")


def fill(page: Mapping[str, Any]) -> str:
    """Return the page with its data."""
    return fill_page("comparison.html", STYLES, ["comparison.js"], page)


def describe_headline(
    article_id: str, runs: Sequence[RunCandidates], comparison: Comparison, refs: Mapping[str, str]
) -> dict[str, Any]:
    """Describe a headline.

    `runs` has the first pictures of each run, each as [ref, retrieval, reranker, fused];
    `relevant` has [ref or null, image id, ranks], with a rank or null for each run; `unsure` the
    positions of the runs that leave it without a picture.
    """
    relevant = comparison.qrels.get(article_id, {})
    return {
        "id": article_id,
        "title": runs[0].titles[article_id],
        "unsure": [position for position, run in enumerate(runs) if article_id in run.unsure],
        "relevant": [
            [
                refs.get(image_id),
                image_id,
                [find_rank(run.ranked[article_id], {image_id: 1}) for run in runs],
            ]
            for image_id in relevant
        ],
        "runs": [
            [
                [refs[image_id], *map(show_score, scores)]
                for image_id, scores in zip(
                    run.ranked[article_id][:N_SHOWN], run.scores[article_id], strict=False
                )
            ]
            for run in runs
        ],
    }


def show_score(score: float) -> float | None:
    """Return a score with five digits; None if it is not finite."""
    return shorten(score) if np.isfinite(score) else None


def differ(headline: Mapping[str, Any], pairs: Sequence[Pair]) -> bool:
    """Return whether a pair finds the editor's picture differently, or differs in the first one."""
    runs, ranks = headline["runs"], [one[2] for one in headline["relevant"]]
    if ranks:
        found = [any(own[i] == 1 for own in ranks) for i in range(len(runs))]
        return any(found[first] != found[second] for first, second in pairs)
    firsts = [own[0][0] if own else None for own in runs]
    return any(firsts[first] != firsts[second] for first, second in pairs)
