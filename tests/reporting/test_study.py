"""The report of a study's best trial."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from newsimg.reporting.study import report_best


def test_a_study_by_ratings_names_its_measure_on_both_splits(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trial: Any = SimpleNamespace(
        number=4,
        values=[3.51],
        params={"weight.value": 0.2},
        user_attrs={"retrieval/least_mean_rating": 3.4},
    )
    gain = {"": 0.05, "_low": -0.01, "_high": 0.11, "_p": 0.1}
    found = {f"delta/least_mean_rating{end}": value for end, value in gain.items()}
    found["reranked/least_mean_rating"] = 3.47
    report_best([trial], ["reranked/least_mean_rating"], [found], ("val", "test"), tmp_path)
    row = pd.read_csv(tmp_path / "report.csv").iloc[0]
    assert row["least mean rating val"] == 3.51
    assert row["least mean rating test"] == 3.47
    assert row["optimism"] == pytest.approx(3.51 - 3.4 - 0.05)
    said = " ".join(capsys.readouterr().out.split())
    assert "on test least mean rating rises by 0.0500" in said
