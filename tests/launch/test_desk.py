"""The Python call does what the command line does, and leaves Hydra as it was."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Outcome
from hydra.core.hydra_config import HydraConfig
from PIL import Image as PILImage

import newsimg
from newsimg.evaluation.stats import compare_means, correct_holm

Command = Callable[..., Outcome]


def test_the_package_is_imported_without_its_heavy_parts() -> None:
    heavy = "torch", "transformers", "hydra", "pandas", "mlflow", "numpy", "faiss"
    code = f"import sys, newsimg; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_evaluate_measures_what_the_command_line_measures(
    tiny_aesthetics: list[str], newsimg_here: Command, tmp_path: Path
) -> None:
    options = [*tiny_aesthetics, "weight.value=0.4"]
    run = newsimg_here(*options, "tracking=none", f"hydra.run.dir={tmp_path / 'run'}")
    assert run.code == 0, run.output
    evaluation = newsimg.load(*options).evaluate()
    queries = pd.read_csv(tmp_path / "run" / "queries.csv", index_col="query_id")
    pd.testing.assert_frame_equal(evaluation.queries, queries)
    curve = pd.read_csv(tmp_path / "run" / "curve.csv")
    pd.testing.assert_frame_equal(evaluation.curve, curve)
    frame = evaluation.to_frame()
    for stage in ("retrieval", "reranked"):
        expected = queries[f"{stage}/hits_at_1"].mean()
        assert frame.loc["hits_at_1", stage] == pytest.approx(expected)
        assert evaluation.metrics[f"{stage}/hits_at_1"] == pytest.approx(expected)


def test_search_finds_what_task_infer_finds(
    tiny_aesthetics: list[str], newsimg_here: Command, tmp_path: Path
) -> None:
    headline = 'Storm, "worst in years", stops ferries'
    run = newsimg_here(
        *tiny_aesthetics[:5],
        *tiny_aesthetics[6:],
        "task=infer",
        f"query={headline}",
        "tracking=none",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert run.code == 0, run.output
    expected = pd.read_parquet(tmp_path / "run" / "results.parquet")
    found = newsimg.load(*tiny_aesthetics).search(headline, top_k=10)
    frame = found.to_frame()
    assert frame["image_id"].tolist() == expected["image_id"].tolist()
    np.testing.assert_allclose(frame["fused"], expected["fused"])
    assert (frame["title"] == headline).all()


def test_several_headlines_are_searched_as_each_alone(tiny_options: list[str]) -> None:
    desk = newsimg.load(*tiny_options)
    headlines = ["Ferry runs aground", "洪水で橋が閉鎖", "Prices rise 3,5 %"]
    together = desk.search(headlines, top_k=4).to_frame()
    for headline in headlines:
        alone = desk.search(headline, top_k=4).to_frame()
        same = together[together["title"] == headline]
        assert same["image_id"].tolist() == alone["image_id"].tolist()


def test_two_desks_side_by_side_keep_their_own_configs(tiny_options: list[str]) -> None:
    few = newsimg.load(*tiny_options[:-2], "top_k=3", "reranker=identity")
    many = newsimg.load(*tiny_options[:-2], "top_k=7", "reranker=identity")
    assert len(few.search("Ferry").images()) == 3
    assert len(many.search("Ferry").images()) == 7
    assert len(few.search("Ferry").images()) == 3


@pytest.mark.slow
def test_a_hydra_application_that_calls_newsimg_keeps_its_own_config(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(
        "import hydra, newsimg\n"
        "from hydra.core.hydra_config import HydraConfig\n"
        "from omegaconf import OmegaConf\n"
        "OmegaConf.register_new_resolver('merge', lambda: 'mine')\n"
        "@hydra.main(version_base='1.1', config_path=None)\n"
        "def main(cfg):\n"
        "    before = OmegaConf.to_yaml(HydraConfig.get())\n"
        "    desk = newsimg.load('reranker=nnn', 'weight.value=0.7')\n"
        "    assert desk.config['weight']['value'] == 0.7\n"
        "    assert OmegaConf.to_yaml(HydraConfig.get()) == before\n"
        "    assert hydra.version.getbase() == hydra.version.Version('1.1')\n"
        "    assert OmegaConf.create({'a': '${merge:}'}).a == 'mine'\n"
        "    print('kept')\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert "kept" in done.stdout, done.stderr


def test_no_state_of_hydra_is_left_behind() -> None:
    newsimg.load("reranker=identity")
    assert not HydraConfig.initialized()
    with pytest.raises(ValueError, match=r"reranker must be one of .*, got 'nothing_like_it'"):
        newsimg.load("reranker=nothing_like_it")
    assert not HydraConfig.initialized()


@pytest.mark.slow
def test_pictures_of_a_folder_are_indexed_once_and_new_ones_added(
    tiny_options: list[str], tmp_path: Path
) -> None:
    pictures = tmp_path / "my pictures, [2026]"
    pictures.mkdir()
    colours = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}
    for name, colour in colours.items():
        PILImage.new("RGB", (40, 30), colour).save(pictures / f"{name}.png")
    desk = newsimg.load(*tiny_options)
    found = desk.index(pictures).search("a red thing", top_k=3)
    assert {image.image_id for image in found.images()} == {"red.png", "green.png", "blue.png"}
    PILImage.new("RGB", (40, 30), (200, 200, 0)).save(pictures / "yellow.png")
    found = desk.index(pictures).search("a red thing", top_k=4)
    assert len({image.image_id for image in found.images()}) == 4


@pytest.mark.slow
def test_compare_tests_each_config_against_the_baseline_with_holms_correction(
    tiny_options: list[str], tiny_aesthetics: list[str]
) -> None:
    configs = [
        tiny_options,
        [*tiny_aesthetics, "weight.value=0.5"],
        [*tiny_aesthetics, "weight.value=1"],
    ]
    table = newsimg.compare(configs, metrics=["mrr_at_10"], baseline=0).to_frame()
    measured = [
        newsimg.load(*config).evaluate().queries["reranked/mrr_at_10"].to_frame("mrr_at_10")
        for config in configs
    ]
    single = [compare_means(measured[0], other) for other in measured[1:]]
    expected = correct_holm(np.array([row.loc["mrr_at_10", "p"] for row in single]))
    np.testing.assert_allclose(table["p"].to_numpy()[1:], expected)
    assert np.isnan(table["p"].iloc[0])
    differences = [values["mrr_at_10"].mean() for values in measured]
    np.testing.assert_allclose(
        table["difference"].to_numpy()[1:], np.array(differences[1:]) - differences[0]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda desk: desk.search(" "), "a headline must not be blank, got ' '"),
        (lambda desk: desk.search([]), "headlines must hold at least one headline"),
        (lambda desk: desk.search("Ferry", top_k=0), "top_k must be at least 1, got 0"),
        (lambda desk: newsimg.compare([]), "configs must hold at least one config"),
        (lambda desk: newsimg.compare([desk], baseline=1), r"baseline must be in \[0, 0\], got 1"),
        (lambda desk: newsimg.compare([desk], correction="bonferroni"), "correction must be"),
        (
            lambda desk: newsimg.compare([desk], metrics=["hits"]),
            "metrics must be one of hits",
        ),
    ],
)
def test_a_wrong_argument_is_refused_in_a_sentence(call, message, tiny_options) -> None:
    with pytest.raises(ValueError, match=message):
        call(newsimg.load(*tiny_options))


def test_a_notebook_shows_pictures_and_escapes_headlines(tiny_options: list[str]) -> None:
    found = newsimg.load(*tiny_options).search("<script>alert(1)</script> & more", top_k=3)
    page = found._repr_html_()
    assert page.count("data:image/webp;base64,") == 3
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert repr(found) == "SearchResult(1 headlines, 3 pictures each)"


def test_an_override_that_is_no_string_is_refused() -> None:
    with pytest.raises(ValueError, match=r'such as "reranker=identity", got \[\]'):
        newsimg.load([])  # type: ignore[arg-type]
