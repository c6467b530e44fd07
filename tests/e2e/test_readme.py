"""Every command of the documentation is run, as a reader would: by bash, and by zsh."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from shells import SHELLS, expand, run

ROOT = Path(__file__).parents[2]
PAGES = {
    path: path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        *ROOT.glob("conf/**/README.md"),
        *ROOT.glob("newsimg/**/README.md"),
    )
}
TEXT = "\n".join(PAGES.values())


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def all_commands() -> list[str]:
    """Return the lines that a reader may copy, and the commands in the comments of configs."""
    blocks = code_blocks("bash") + code_blocks("console")
    commands = [line for block in blocks for line in block.splitlines()]
    for path in (ROOT / "conf").rglob("*.yaml"):
        for line in re.findall(r"^# (newsimg .+)$", path.read_text(encoding="utf-8"), re.M):
            text = re.split(r":(?: |$)|  | \(", line)[0]  # what comes after is said of it
            commands += [text.strip()] if "[group=option" not in text else []
    return commands


def newsimg_commands() -> list[str]:
    lines = [line for block in code_blocks("bash") for line in block.splitlines()]
    # What comes before "&&" installs the project, which whoever runs this has done.
    commands = [line.rpartition("&& ")[2] for line in lines]
    return [command for command in commands if command.split()[0] in ("newsimg", "python")]


def use_small_models(words: list[str], clip: Path, head: Path) -> list[str]:
    """Put models of the same architecture in the place of those of the hub."""
    if "backbone=clip_vit_b32" in words:
        words = [*words, f"backbone.model={clip}"]
    if "reranker=aesthetics_vit_b32" in words:
        own = [f"reranker.head={head}", "reranker.sha256=null", f"reranker.backbone.model={clip}"]
        words = [*words, *own]
    return words


def test_both_shells_hand_over_what_is_written(tmp_path):
    commands = all_commands()
    assert len(commands) > 100
    for command in commands:
        assert "#" not in command, f"zsh takes it for a word: {command}"
        calls = {shell: expand(shell, command, tmp_path) for shell in SHELLS}
        assert calls["bash"] == calls["zsh"], command
        if "&&" not in command and "$" not in command and not command.startswith("export"):
            assert calls["bash"] == [shlex.split(command)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "command"),
    [(list(SHELLS)[i % 2], command) for i, command in enumerate(newsimg_commands())],
)
def test_a_command_of_the_readme_works(
    shell, command, newsimg_here, sample_newsroom, sample_cache, tmp_path
):
    if any(slow in command for slow in ("reranker=llm_rewriting", "reranker=vlm_judge")):
        articles = (sample_newsroom / "newsarticles.csv").read_text().splitlines()
        (tmp_path / "subset.csv").write_text("\n".join(articles[:21]))  # a minute for all 400
        command += " data.subset=subset.csv"
    if command == "newsimg":  # the first, in a process that a shell starts
        result = run(shell, command, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr
        return
    ((program, *words),) = expand(shell, command, tmp_path)
    assert program == "newsimg"
    outcome = newsimg_here(*words)
    assert outcome.code == 0, outcome.output
    assert "Traceback" not in outcome.stderr


def test_the_readme_names_every_option_of_every_group():
    for group in (path for path in (ROOT / "conf").iterdir() if path.is_dir()):
        if group.name in ("hydra", "experiment"):
            continue
        for path in group.glob("*.yaml"):
            assert f"`{path.stem}`" in TEXT, f"{group.name}={path.stem}"


@pytest.mark.slow
def test_a_reranker_of_ones_own_works_as_the_readme_says(tmp_path):
    (python,) = (block for block in code_blocks("python") if "class ShortIdsFirst" in block)
    (yaml,) = code_blocks("yaml")
    (tmp_path / "my_rerankers.py").write_text(python)
    folder = tmp_path / "my_conf" / "reranker"
    folder.mkdir(parents=True)
    (folder / "short_ids.yaml").write_text(yaml)
    (command,) = [
        line
        for block in code_blocks("console")
        for line in block.splitlines()
        if "--config-dir" in line
    ]
    result = run("zsh", command, tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_pictures_of_ones_own_are_indexed_and_searched_as_the_readme_says(
    newsimg_here, sample_newsroom, sample_cache, tiny_clip, tiny_head, tmp_path
):
    pictures = sorted((sample_newsroom / "newsimages").iterdir())[:30]
    for name, chosen in (("pictures", pictures[:20]), ("more_pictures", pictures[20:])):
        (tmp_path / name).mkdir()
        for path in chosen:
            (tmp_path / name / path.name).symlink_to(path)
    (tmp_path / "pictures" / "a.jpg").symlink_to(pictures[0])
    (section,) = re.findall(r"^## Your own pictures$(.*?)(?:^## |\Z)", TEXT, re.M | re.S)
    (block,) = re.findall(r"^```console\n(.*?)^```", section, re.M | re.S)
    commands = block.splitlines()
    assert len(commands) == 5
    for command, n_images in zip(commands, (21, 31, 30, None, 30), strict=True):
        ((program, *words),) = expand("zsh", command, tmp_path)
        if program == "newsimg-search":  # serves until Ctrl-C, see test_search_page.py
            continue
        arguments = use_small_models(words, tiny_clip, tiny_head)
        result = newsimg_here(*arguments, "tracking=none", f"cache.dir={tmp_path / 'cache'}")
        assert result.code == 0, result.output
        assert "TOY MODEL" not in result.output
        assert re.search(rf"pictures +{n_images}\b|, {n_images} (images|pictures)", result.stdout)


@pytest.mark.slow
def test_runs_are_compared_as_the_readme_says(newsimg_here, sample_cache, tmp_path):
    text = PAGES[ROOT / "newsimg" / "task" / "README.md"]
    (block,) = (
        one
        for one in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
        if "task=compare" in one
    )
    for command in block.splitlines():
        ((_, *words),) = expand("bash", command, tmp_path)
        result = newsimg_here(*words, "tracking=none", f"cache.dir={tmp_path / 'cache'}")
        assert result.code == 0, result.output
    (page,) = tmp_path.glob("multirun/single/*/*/compare.html")
    assert "nnn, none, weight" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_headlines_become_a_submission_as_the_readme_says(
    newsimg_here, sample_newsroom, sample_cache, tiny_clip, tiny_head, tmp_path
):
    lines = (sample_newsroom / "newsarticles.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "articles.csv").write_text("\n".join(lines[:6]), encoding="utf-8")
    (tmp_path / "pictures").mkdir()
    for path in sorted((sample_newsroom / "newsimages").iterdir())[:20]:
        (tmp_path / "pictures" / path.name).symlink_to(path)
    (section,) = re.findall(r"^## From headline to submission$(.*?)(?:^## |\Z)", TEXT, re.M | re.S)
    (block,) = re.findall(r"^```console\n(.*?)^```", section, re.M | re.S)
    for command in block.splitlines():
        ((_, *words),) = expand("bash", command, tmp_path)
        arguments = use_small_models(words, tiny_clip, tiny_head)
        result = newsimg_here(*arguments, "tracking=none", f"cache.dir={tmp_path / 'cache'}")
        assert result.code == 0, result.output
        assert "TOY MODEL" not in result.output
    assert "no violations" in result.stdout
    for folder in ("clip", "plain"):
        names = {path.name for path in (tmp_path / folder).iterdir()}
        results = {f"results.{suffix}" for suffix in ("parquet", "jsonl", "run")}
        assert names >= {"report.html", "summary.json", *results}


@pytest.mark.slow
def test_the_python_call_of_the_readme_works(sample_cache, tmp_path):
    (block,) = (block for block in code_blocks("python") if "newsimg.load" in block)
    result = subprocess.run(
        [sys.executable, "-c", block + "print(desk)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "newsimg.load('reranker=aesthetics', 'weight.value=0.15')\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", PAGES[page]):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_each_package_of_more_than_three_modules_has_a_page_that_the_readme_leads_to():
    packages = {path.parent for path in ROOT.glob("newsimg/*/*.py")}
    for package in packages:
        modules = [path for path in package.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 3 or package / "README.md" in PAGES, package
