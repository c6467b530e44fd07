"""Summary of the index built by `task=index`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from newsimg.interfaces import RunInfo
from newsimg.reporting.console import console, print_command, print_table, shorten_path
from newsimg.reporting.quoting import quote_value, write_command
from newsimg.storage.pictures.skipped import describe_counts


def report_index(folder: Path, manifest: dict[str, Any], info: RunInfo) -> dict[str, float]:
    """Print the properties of an index and return them as metrics."""
    found = manifest["self_query"]
    measured = manifest["measured_with"]
    rows = {
        "pictures": manifest["n_images"],
        "rejected": manifest["n_rejected"],
        "with words": manifest["metadata"]["n_with_words"],
        "factory": manifest["factory"],
        "bytes per vector": round(manifest["bytes_per_vector"]),
        "found by their own embedding": f"{found['n_found']} of {found['n_checked']}",
    }
    metrics = {name: manifest[name] for name in ("n_listed", "n_images", "n_rejected")}
    metrics |= {f"metadata/{name}": number for name, number in manifest["metadata"].items()}
    metrics |= {"n_removed": 0, "bytes_per_vector": manifest["bytes_per_vector"]}
    for top_k, recall in manifest["recall"].items():
        rows[f"recall@{top_k} against exact"] = f"{recall:.4f}"
        metrics[f"recall_at_{top_k}"] = recall
    for name, milliseconds in manifest["ms_per_query"].items():
        rows[f"ms per query, {name}"] = f"{milliseconds:.3g}"
        metrics[f"ms_{name}"] = milliseconds
    if measured is not None:
        rows["measured with"] = f"{measured['n_queries']} {measured['queries']}"
    print_table(pd.DataFrame(rows.items(), columns=["index", ""]), str(folder))
    if measured is not None and measured.get("kind") == "pictures":
        console.print(
            "recall is lower for headlines than for pictures of the index: task.queries=FILE "
            "measures it with the headlines of a CSV, or of a text file with one per line"
        )
    skipped = manifest["skipped"]
    metrics["n_skipped"] = sum(skipped.values())
    if skipped:
        console.print(describe_counts(skipped))
    if manifest["n_rejected"] or skipped:
        console.print(f"rejected files with reasons: {folder / 'rejected.parquet'}")
    # Headlines of the data, if it has any, are examples for the page, and measure hubs.
    own = measured is not None and measured["queries"] == f"headlines of {manifest['collection']}"
    print_searches(folder, info, ["task", "engine", *([] if own else ["data"])])
    return metrics


def describe_import(facts: Mapping[str, Any]) -> str:
    """Return a sentence on the vectors that were compared with the backbone's own."""
    return (
        f"{facts['path']}: {facts['n_compared']} vectors were compared with the backbone's own, "
        f"the lowest cosine is {facts['lowest_cosine']:.4f}"
    )


def print_searches(folder: Path, info: RunInfo, without: Sequence[str]) -> None:
    """Print the commands that search an index; see `write_command`."""
    saved = ["index=saved", f"index.folders=[{quote_value(shorten_path(folder))}]"]
    print_command("search it", write_command("newsimg-search", info, saved, without))
    words = write_command("newsimg", info, ["task=infer", *saved], without)
    print_command("one headline", [*words, 'query="HEADLINE"'])
