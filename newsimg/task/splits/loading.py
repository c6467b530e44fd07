"""Two splits of the data: one to choose or fit on, another to report on."""

from newsimg.datatypes import Candidates, Collection
from newsimg.evaluation.ground_truth import match_ground_truth
from newsimg.interfaces import Components
from newsimg.pipeline import load_and_retrieve, retrieve_readable

Split = tuple[Collection, Candidates]  # queries of a split and their candidates


def load_splits(
    components: Components, report_split: str | None, other_way: str
) -> tuple[Split, Split | None]:
    """Load and search `data.split` and, if there is one, the split to report on.

    Args:
        components: Of the run.
        report_split: Name of the split to report on; None for none.
        other_way: What to do with a single split, for the message.

    Raises:
        ValueError: If one query is in both splits.
    """
    shared, other = components.shared, None
    if report_split is not None:
        other = components.dataset.with_split(report_split).load()
        check_disjoint(components.dataset.load(), other, other_way)  # before any model runs
    collection, retrieved = load_and_retrieve(components)
    reported = None
    if other is not None:
        stages = (components.backbone, components.index, components.top_k)
        other, found = retrieve_readable(other, *stages)
        reported = shared.get("reported truth", match_ground_truth, other, found), found
    collection = shared.get("ground truth", match_ground_truth, collection, retrieved)
    return (collection, retrieved), reported


def check_disjoint(chosen: Collection, reported: Collection, other_way: str) -> None:
    """Check that the splits share no query.

    Raises:
        ValueError: If the splits share queries.
    """
    shared = {query.query_id for query in chosen.queries} & {
        query.query_id for query in reported.queries
    }
    if shared:
        raise ValueError(
            f"task.report_split and data.split must not share queries, got {len(shared)} that are "
            f"in both, {min(shared)!r} among them; {other_way}"
        )
