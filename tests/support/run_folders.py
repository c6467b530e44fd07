"""Folders as runs leave them, of ranks that a test chooses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from newsimg.datatypes import SharedResults
from newsimg.evaluation.curve import score_ranks
from newsimg.reporting.evaluation import report_statistics


def move_first(n_queries: int, n_helped: int, n_hurt: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ranks before and after: half of the relevant images come first before.

    Of the others `n_helped` come first after, of the first `n_hurt` come second.
    """
    before = np.where(np.arange(n_queries) % 2 == 0, 1, 3)
    after = before.copy()
    after[np.flatnonzero(before == 3)[:n_helped]] = 1
    after[np.flatnonzero(before == 1)[:n_hurt]] = 2
    return before, after


def write_run(
    folder: Path,
    ranks: tuple[np.ndarray, np.ndarray],
    weight: float,
    choices: Mapping[str, str],
    values: Sequence[str] = (),
    curve: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write what task=evaluate leaves that a summary reads.

    Args:
        folder: The run's.
        ranks: Of each query's relevant image before and after reranking.
        weight: The reranker's share, which is overridden.
        choices: Group -> option, all overridden.
        values: Further overrides.
        curve: The content of `curve.csv`.
        config: What the config has beside weight, data and task.
    """
    (folder / ".hydra").mkdir(parents=True)
    overrides = [f"{group}={option}" for group, option in choices.items()]
    overrides += [*values, f"weight.value={weight}"]
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    hydra = {"hydra": {"runtime": {"choices": {"weight": "l1", **choices}}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))
    own = {"weight": {"value": weight}, "data": {"split": "val"}, "task": {}, "tags": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(own | dict(config or {})))
    before, after = (score_ranks(stage, (1, 5, 10)) for stage in ranks)
    report_statistics({"retrieval": before, "reranked": after}, folder, SharedResults())
    ids = pd.Series([f"q{i}" for i in range(len(before))], name="query_id")
    ids.to_csv(folder / "queries.csv", index=False)
    if curve is not None:
        (folder / "curve.csv").write_text(curve)
    return folder
