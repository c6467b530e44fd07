"""The tour is executed in a real kernel, as a reader would run it."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TOUR = ROOT / "newsimg" / "sample" / "tour.ipynb"


@pytest.fixture(scope="module")
def outputs(sample_newsroom: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each code cell displays, as one text."""
    notebook = nbformat.read(TOUR, as_version=4)
    resources = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    environment = {**os.environ, "NEWSIMG_CACHE": str(sample_newsroom.parent)}
    NotebookClient(notebook, timeout=300, resources=resources).execute(env=environment)
    return [
        "".join("".join(output.get("data", {}).values()) for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_the_committed_notebook_has_no_outputs() -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_a_search_shows_its_pictures(outputs: list[str]) -> None:
    (five,) = (text for text in outputs if "<b>Ferry service resumes after storm</b>" in text)
    assert five.count("data:image/webp;base64,") == 5
    (batch,) = (text for text in outputs if "<b>Parliament votes on the budget</b>" in text)
    assert batch.count("data:image/webp;base64,") == 6
    (own,) = (text for text in outputs if "<b>A green ball</b>" in text)
    assert own.count("data:image/webp;base64,") == 3


def test_the_figures_are_those_of_the_readme(outputs: list[str]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    row = re.search(r"^\| `aesthetics` \| 0.15 \| ([\d.]+) \| ([\d.]+) \|", readme, re.M)
    baseline = re.search(r"^\| `identity` .*?\| ([\d.]+) \| ([\d.]+) \|", readme, re.M)
    assert row
    assert baseline
    (evaluation,) = (text for text in outputs if "Evaluation(" in text)
    assert f"Hits@1 {baseline[1]} retrieval, {row[1]} reranked" in evaluation
    (comparison,) = (text for text in outputs if "difference_low" in text)
    assert re.search(rf"reranker=identity\s+hits_at_1\s+{baseline[2]}", comparison)
    assert re.search(rf"reranker=aesthetics\s+hits_at_1\s+{row[2]}", comparison)
