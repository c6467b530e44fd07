"""The command line as a user meets it: help, typing errors, what is refused, and the wheel."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch

import newsimg
from newsimg.launch.job import GROUPS
from newsimg.run import CONF_DIR

ROOT = Path(__file__).resolve().parents[2]
# Each takes from a tenth of a second to two seconds to import.
HEAVY = {"torch", "transformers", "mlflow", "faiss", "pandas", "scipy", "matplotlib", "sklearn"}
HEAVY |= {"ir_measures", "pyarrow", "PIL", "huggingface_hub", "tokenizers"}


def run_and_list_imports(code: str) -> tuple[str, set[str]]:
    """Run code in a process of its own; return its output, and the modules that it imports."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print('IMPORTED', sorted(sys.modules))"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    text, _, imported = done.stdout.partition("IMPORTED ")
    return text, set(ast.literal_eval(imported))


def test_help_names_every_group_and_option_and_imports_nothing_heavy() -> None:
    code = (
        "import runpy, sys; sys.argv = ['newsimg', '--help']\n"
        "try: runpy.run_module('newsimg.run', run_name='__main__')\n"
        "except SystemExit: pass\n"
    )
    text, imported = run_and_list_imports(code)
    assert not HEAVY & {name.partition(".")[0] for name in imported}
    for group in GROUPS:
        (line,) = re.findall(rf"^\W*{group}: (.*)$", text, re.MULTILINE)
        options = {path.stem for path in (CONF_DIR / group).glob("*.yaml")}
        assert set(line.split(", ")) == options
    assert "newsimg -m weight.value=" in text


@pytest.mark.slow
def test_a_run_whose_results_are_cached_imports_no_library_of_models_or_tests(
    newsimg_here: Callable[..., Any], tiny_aesthetics: list[str]
) -> None:
    arguments = [*tiny_aesthetics, "weight=rank"]
    assert newsimg_here(*arguments, "tracking=none").code == 0
    code = (
        "import sys; from newsimg.run import main\n"
        f"sys.argv = {['newsimg', *arguments]!r}\n"
        "main()\n"
    )
    _, imported = run_and_list_imports(code)
    assert "newsimg.reranker.aesthetics" in imported
    assert not imported & {"torch", "transformers", "mlflow", "scipy.stats", "sklearn"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", r"_target_ os.system is not of a trusted package \(newsimg\)"),
        ("newsimg.storage.files.os.system", r"newsimg.storage.files.os.system cannot be found"),
        ("newsimg.storage.files.hash_file", r"newsimg.storage.files.hash_file is no class"),
        (
            "newsimg.storage.cache.OutputCache",
            r"newsimg.storage.cache.OutputCache must be derived from one of .*Reranker",
        ),
        ("newsimg.storage.files.NamedTemporaryFile", r"NamedTemporaryFile is no class"),
        ("subprocess.Popen", r"subprocess.Popen is not of a trusted package"),
        ("newsimg_evil.Reranker", r"newsimg_evil.Reranker is not of a trusted package"),
        ("newsimg.nowhere.Nothing", r"newsimg.nowhere.Nothing"),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["outermost", "inside"])
def test_a_target_that_is_no_component_of_a_trusted_package_is_refused(
    target: str,
    message: str,
    inside: bool,
    newsimg_here: Callable[..., Any],
    tiny_options: list[str],
    tiny_aesthetics: list[str],
    tmp_path: Path,
) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "newsimg_evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Reranker: pass\n")
    if inside:
        arguments = [*tiny_aesthetics, f"reranker.backbone._target_={target}"]
    else:
        arguments = [*tiny_options, f"reranker._target_={target}"]
    arguments.append(f"+reranker.command='touch {mark}'")
    result = newsimg_here(*arguments, "tracking=none")
    assert result.code == 2
    assert re.search(message, result.stderr), result.stderr
    assert not mark.exists()


def test_a_broken_picture_is_named(
    newsimg_here: Callable[..., Any], tiny_options: list[str], newsroom: Any, tmp_path: Path
) -> None:
    pictures = shutil.copytree(newsroom.image_dir, tmp_path / "pictures")
    (pictures / "5007.JPG").write_bytes((pictures / "5007.JPG").read_bytes()[:400])
    options = [o for o in tiny_options if not o.startswith("data.image_dir")]
    result = newsimg_here(*options, f"data.image_dir={pictures}", "tracking=none")
    assert result.code == 2
    assert re.search(
        rf"newsimg: error: 1 of the 60 pictures of newsimages cannot be used: .*, line 9: "
        rf"cannot read the picture {pictures}/5007\.JPG",
        result.stderr,
    )


def test_more_candidates_than_pictures_are_clipped_with_a_warning(
    newsimg_here: Callable[..., Any], tiny_options: list[str]
) -> None:
    options = [option for option in tiny_options if not option.startswith("top_k")]
    result = newsimg_here(*options, "top_k=100", "tracking=none")
    assert result.code == 0, result.output
    assert "WARNING: top_k=100 exceeds the pool of 60 images; using 60" in result.stderr
    assert "ceiling Hits@60 1.0000" in result.stdout
    assert "Hits@50" in result.stdout
    assert "Hits@100" not in result.stdout


def test_articles_without_judgements_cannot_be_evaluated(
    newsimg_here: Callable[..., Any], tiny_options: list[str], newsroom: Any, tmp_path: Path
) -> None:
    lines = newsroom.csv_path.read_text(encoding="utf-8").splitlines()
    (tmp_path / "four.csv").write_text(
        "article_id,article_title\n" + "\n".join(f"a{i},Storm {i}" for i in range(len(lines) - 1)),
        encoding="utf-8",
    )
    options = [option for option in tiny_options if not option.startswith("data.csv_path")]
    result = newsimg_here(*options, "data.csv_path=four.csv", "tracking=none")
    assert result.code == 2
    assert "names no editors' pictures: nothing to measure by" in result.stderr


@pytest.mark.slow
def test_the_process_prints_its_table_its_places_and_nothing_else(
    newsimg: Callable[..., Any], tiny_aesthetics: list[str], tmp_path: Path
) -> None:
    """The one run here in a process of its own: what libraries write, they write there."""
    result = newsimg(*tiny_aesthetics, "folder=runs", "weight.value=0.3")
    assert result.code == 0, result.output
    # The tiny model's tokens are letters.
    assert re.fullmatch(r"WARNING: 29 of 60 headlines are longer than .*\n", result.stderr)
    table, _, rest = result.stdout.partition("written to")
    assert re.search(r"Hits@1 +[\d.]+ +[\d.]+ +[+-][\d.]+", table)
    assert "weight 0.3" in table
    assert re.search(r"60 queries, 60 images, ceiling Hits@10 [\d.]+", table)
    *_, page, command = rest.splitlines()
    run = (
        r"http://127\.0\.0\.1:5000/#/experiments/1/runs/[0-9a-f]{32}\?workflowType=machine_learning"
    )
    assert re.fullmatch(rf"in MLflow      {run}", page)
    assert command == f"served by      newsimg-ui folder={tmp_path}/runs"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built with what is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_carries_the_configs_and_the_sample_models(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in CONF_DIR.rglob("*.yaml"):
        assert f"newsimg/conf/{path.relative_to(CONF_DIR)}" in names
    tracked = subprocess.run(
        ["git", "ls-files", "newsimg"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(tracked.stdout.split()) <= names
    assert "newsimg/sample/clip/model.safetensors" in names
    assert "newsimg/sample/aesthetics/head.safetensors" in names
    assert not {name for name in names if name.startswith(("tests/", "multirun/", "conf/"))}


@pytest.mark.slow
def test_the_wheels_newsimg_works_from_an_empty_folder(
    wheel: Path, sample_cache: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", site, wheel], check=True, capture_output=True)
    (tmp_path / "empty").mkdir()
    command = site / "bin" / "newsimg"
    done = subprocess.run(
        [
            *(sys.executable, command, f"cache.dir={sample_cache / 'model_outputs'}"),
            *("data.split=test", "tracking=none", "task.report=false", "task.n_sheet_queries=0"),
        ],
        cwd=tmp_path / "empty",
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "400 queries, 400 images" in done.stdout
    (config,) = (tmp_path / "empty" / "multirun").glob("single/*/*/config.yaml")
    assert f"model: {site}/newsimg/sample/clip" in config.read_text()


def test_the_installed_command_is_the_module() -> None:
    script = Path(sysconfig.get_path("scripts")) / "newsimg"
    if not script.is_file():
        pytest.skip("the project is not installed here")
    outputs = {
        subprocess.run(
            [*command, "--cfg", "job", "top_k=7"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in ([sys.executable, str(script)], [sys.executable, "-m", "newsimg"])
    }
    (output,) = outputs
    assert "top_k: 7" in output


def test_version_names_newsimg_its_packages_and_the_device() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "newsimg", "--version"], capture_output=True, text=True, check=True
    )
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert found["newsimg"] == newsimg.__version__ == version("newsimg")
    assert found["torch"] == torch.__version__
    assert found["hydra-core"] == hydra.__version__
    assert (found["device"] == "cpu") is not torch.cuda.is_available()
    assert done.stderr == ""
