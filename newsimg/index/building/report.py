"""What `task=index` says of the index that it has made, and of pictures that it cannot use."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from newsimg.index.building.scratch import REJECTED, Scratch, write_tables
from newsimg.reporting.console import console, print_table

N_NAMED = 3  # rejected pictures that an error names


def report_index(folder: Path, manifest: dict[str, Any]) -> dict[str, float]:
    """Print what an index is, and return it as metrics."""
    found = manifest["self_query"]
    measured = manifest["measured_with"]
    rows = {
        "pictures": manifest["n_images"],
        "rejected": manifest["n_rejected"],
        "factory": manifest["factory"],
        "bytes per vector": round(manifest["bytes_per_vector"]),
        "found by their own embedding": f"{found['n_found']} of {found['n_checked']}",
    }
    metrics = {name: manifest[name] for name in ("n_listed", "n_images", "n_rejected")}
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
            "headlines are found less surely than pictures of the index: task.queries=FILE "
            "measures with those of a CSV, or of a text file with one in each line"
        )
    if manifest["n_rejected"]:
        console.print(f"what was rejected, and why: {folder / 'rejected.parquet'}")
    where = shlex.quote(f"index.folders=[{folder}]")
    console.print(f'search it      newsimg task=infer index=saved {where} query="HEADLINE"')
    return metrics


def explain_rejected(scratch: Scratch, output_dir: Path) -> str:
    """Write `rejected.parquet` for a job that fails; return the first reasons, and where it is.

    Args:
        scratch: What the job has done so far.
        output_dir: The run's folder: an index that is there keeps its own file.
    """
    examples: list[str] = []

    def read() -> Iterator[pa.Table]:
        for table in scratch.read_rejected():
            for row in table.slice(0, N_NAMED - len(examples)).to_pylist():
                examples.append(f"\n  {row['uri']}: {row['reason']}")
            yield table

    path = output_dir / "rejected.parquet"
    if not write_tables(read(), REJECTED, path):
        path.unlink()
        return ""
    return "".join(examples) + f"\nwhat was rejected, and why: {path}"
