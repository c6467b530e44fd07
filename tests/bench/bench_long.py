"""Time and memory of one sweep of 1,000 jobs and of task=infer on 100,000 headlines.

    python tests/bench/bench_long.py [n_jobs [n_headlines]]

Prints the duration and the largest memory of infer for each quarter of the headlines, then, at each
quarter of the sweep, its duration and the memory of its process, and how long MLflow's page takes,
started by newsimg-ui, to list the runs. Durations should be linear, and memory constant.
"""

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from newsimg.sample.generator import ensure_newsroom
from newsimg.storage.files import user_cache_dir

SETTINGS = ("reranker=identity", "task.n_sheet_queries=0", "task.report=false")
N_LISTED = 100  # runs on the first page


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start newsimg in a folder."""
    command = [sys.executable, "-u", "-m", "newsimg", *arguments]
    output = (folder / "output.txt").open("w")
    return subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, text=True)


def run_infer(folder: Path, headlines: list[str]) -> tuple[float, float]:
    """Return the seconds and the largest memory in MiB of one run."""
    with (folder / "articles.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["article_id", "article_title"])
        writer.writerows(enumerate(headlines))
    began = time.monotonic()
    process = start(
        folder,
        *("task=infer", "data=queries", "data.csv_path=articles.csv", "index=saved"),
        *("index.folders=[index]", "reranker=identity", "task.report=false", "tracking=none"),
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, (folder / "output.txt").read_text()[-2000:]
    return time.monotonic() - began, usage.ru_maxrss / 1024


def read_memory(process: int) -> float:
    """Return the memory of a running process in MiB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def run_sweep(folder: Path, n_jobs: int) -> None:
    """Run a sweep; print seconds and memory at each quarter of its jobs."""
    began = time.monotonic()
    process = start(folder, "-m", *SETTINGS, f"weight.value=range(0,1,{1 / n_jobs})")
    quarters = [n_jobs * i // 4 for i in (1, 2, 3)]
    while process.poll() is None:
        n_done = len(list(folder.glob("multirun/sweep/*/*/*/queries.csv")))
        if quarters and n_done >= quarters[0]:
            quarters.pop(0)
            seconds = time.monotonic() - began
            print(f"sweep: {n_done:5} jobs {seconds:7.1f} s {read_memory(process.pid):7.0f} MiB")
            sys.stdout.flush()
        time.sleep(0.2)
    assert process.returncode == 0, (folder / "output.txt").read_text()[-2000:]
    print(f"sweep: {n_jobs:5} jobs {time.monotonic() - began:7.1f} s, with its summary")


def time_page(folder: Path) -> None:
    """Print how long MLflow takes to answer for the first time, and to list runs."""
    began = time.monotonic()
    process = start(folder, "task=ui", "task.open=false", "task.port=5077")
    while not (found := re.search(r"http://\S+:5077", (folder / "output.txt").read_text())):
        assert process.poll() is None, (folder / "output.txt").read_text()[-2000:]
        time.sleep(0.05)
    print(f"newsimg-ui: {time.monotonic() - began:.1f} s until the link is printed")
    try:
        for sorting in ([], ["metrics.`reranked/hits_at_1` DESC"]):
            body = {"experiment_ids": ["1"], "max_results": N_LISTED, "order_by": sorting}
            request = urllib.request.Request(
                f"{found[0]}/ajax-api/2.0/mlflow/runs/search",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            began = time.monotonic()
            with urllib.request.urlopen(request) as response:
                n_runs = len(json.load(response)["runs"])
            how = "sorted by Hits@1" if sorting else "newest"
            print(f"MLflow: {time.monotonic() - began:.2f} s for {n_runs} runs, {how}")
    finally:
        process.terminate()
        process.wait()


def main(n_jobs: int = 1000, n_headlines: int = 100_000) -> None:
    """Run both."""
    newsroom = ensure_newsroom(user_cache_dir())
    with (newsroom / "newsarticles.csv").open(encoding="utf-8", newline="") as file:
        titles = [row["article_title"] for row in csv.DictReader(file)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = f"data.folder={newsroom / 'newsimages'}"
        build = start(
            folder,
            *("task=index", "data=collection", pictures, "task.index_dir=index", "tracking=none"),
        )
        assert build.wait() == 0, (folder / "output.txt").read_text()[-2000:]
        headlines = [f"{titles[i % len(titles)]} ({i})" for i in range(n_headlines)]
        for n in [n_headlines * i // 4 for i in (1, 2, 3, 4)]:
            seconds, memory = run_infer(folder, headlines[:n])
            print(f"infer: {n:7} headlines {seconds:7.1f} s {memory:7.0f} MiB", flush=True)
        run_sweep(folder, n_jobs)
        time_page(folder)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
