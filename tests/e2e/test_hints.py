"""What a run prints to be typed next is typed, into bash and into zsh, and works."""

import json
import os
import re
import shlex
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shells import SHELLS, expand, run, start

HINT = r"^{label} +(newsimg.*)$"
AWKWARD = "my index, [old]"  # a folder that shells and Hydra's grammar would both take apart


def find_hint(label: str, printed: str, folder: Path) -> str:
    """Return a command that was printed, if both shells read the same words in it."""
    (command,) = re.findall(HINT.format(label=label), printed, re.MULTILINE)
    calls = [expand(shell, command, folder) for shell in SHELLS]
    assert calls == [[shlex.split(command)]] * 2
    return str(command)


def read_page(printed: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a search page begins with and what is known of its data, by its address."""
    for line in printed:
        if found := re.match(r"page +(http://127\.0\.0\.1:\d+)", line):
            status = {"state": "loading"}
            while status["state"] == "loading":
                time.sleep(0.1)
                status = read_json(f"{found[1]}/search/status")
            return read_json(f"{found[1]}/search/start"), status
    pytest.fail("no page")


def read_json(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(address) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.mark.slow
def test_an_index_is_searched_by_the_commands_that_are_printed(
    newsimg_here: Callable[..., Any], newsroom: Any, sample_cache: Path, tmp_path: Path
) -> None:
    options = [f"cache.dir={tmp_path / 'cache'}", "tracking=none", "reranker=identity", "top_k=7"]
    data = ["data=collection", f"data.folder={newsroom.image_dir}"]
    made = newsimg_here("task=index", *data, f'task.index_dir="{AWKWARD}"', *options)
    assert made.code == 0, made.output

    one = find_hint("one headline", made.stdout, tmp_path)
    found = run("zsh", one, tmp_path)
    assert found.returncode == 0, found.stderr
    assert "1 headline, 60 pictures, 7 candidates each" in found.stdout
    submit = find_hint("submit them", found.stdout, tmp_path)
    submitted = run("bash", submit, tmp_path)
    assert submitted.returncode == 0, submitted.stderr
    checked = run("zsh", find_hint("check it", submitted.stdout, tmp_path), tmp_path)
    assert "no violations" in checked.stdout, checked.stderr

    process = start("bash", find_hint("search it", made.stdout, tmp_path), tmp_path)
    try:
        start_values, status = read_page(process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert "TOY MODEL (backbone)" in start_values["warning"]
    assert status["n_images"] == 60
    assert status["headlines"] == [], "headlines of the sample are offered over other pictures"


@pytest.mark.slow
def test_a_sweep_is_of_the_run_that_prints_it(
    newsimg_here: Callable[..., Any], tiny_aesthetics: list[str], tmp_path: Path
) -> None:
    own = [*tiny_aesthetics, "weight=rank", "+tags.note=it's {a,b}", "folder=my runs"]
    own += [f"cache.dir={tmp_path / 'cache'}", "tracking=none"]
    single = newsimg_here(*map(quote, own), "weight.value=0.7", "hydra.run.dir=one")
    assert single.code == 0, single.output
    title = "newsimages all: reranker aesthetics, normalisation rank, weight 0.7"
    assert single.stdout.splitlines()[0] == title
    assert f"report         {tmp_path / 'one' / 'report.html'}" in single.stdout
    sweep = find_hint("sweep weights", single.stdout, tmp_path)
    assert shlex.split(sweep) == [
        *("newsimg", "-m", *map(quote, own), "weight.value=0,0.1,0.2,0.3"),
    ]
    done = run("zsh", sweep, tmp_path)
    assert done.returncode == 0, done.stderr
    configs = sorted(tmp_path.glob("my runs/sweep/*/*/?/config.yaml"))
    assert len(configs) == 4
    for config in configs:
        assert "note: it's {a,b}" in config.read_text()


def quote(override: str) -> str:
    """Quote a value that Hydra's grammar would take apart."""
    name, _, value = override.partition("=")
    return f'{name}="{value}"' if "{" in value or " " in value else override
