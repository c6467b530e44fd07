"""Tables of runs that were really made, read back and compared with other tools' numbers."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pandas as pd
import pytest
from run_folders import move_first, write_run
from scipy.stats import binomtest

from newsimg.reporting.sweeps.paper import make_table
from newsimg.reporting.sweeps.paper_table import Layout, PaperTable
from newsimg.reporting.sweeps.runs import read_runs
from newsimg.task.finished.table import TableTask

DAGGERS = ("†", "‡")


def read_markdown(text: str) -> list[dict[str, str]]:
    """Return the rows of the table by their headers."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [
        [part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in (lines[0], *lines[2:])
    ]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]


def make_sweep(folder: Path) -> Path:
    """Two rerankers at two weights: one helps 12 of 200 at 0.2, the other hurts 15."""
    helped = {"nnn": {0.1: (4, 1), 0.2: (12, 0)}, "odd_one": {0.1: (0, 15), 0.2: (0, 30)}}
    for reranker, counts in helped.items():
        for weight, pair in counts.items():
            choices = {"reranker": reranker}
            write_run(folder / f"{reranker} {weight}", move_first(200, *pair), weight, choices)
    return folder


def table_of(folder: Path, **layout: Any) -> PaperTable:
    return make_table(read_runs([folder]), Layout(**layout))


@pytest.mark.slow
def test_the_table_of_a_real_sweep_has_the_numbers_of_ir_measures_and_holms_correction(
    newsimg_here: Callable[..., Any], tiny_aesthetics: list[str]
) -> None:
    swept = ("weight=l1,rank", "weight.value=0.2,0.6,1", "tracking=none", "hydra.sweep.dir=made")
    assert newsimg_here("-m", *tiny_aesthetics, *swept).code == 0
    found, p_values = {}, {}
    for job in range(6):
        folder = Path("made") / str(job)
        qrels = list(ir_measures.read_trec_qrels(str(folder / "qrels.txt")))
        stages = {}
        for stage in ("retrieval", "reranked"):
            run = list(ir_measures.read_trec_run(str(folder / f"{stage}.run")))
            values = ir_measures.iter_calc(
                [ir_measures.Success @ 1, ir_measures.RR @ 10], qrels, run
            )
            stages[stage] = pd.DataFrame(
                [(v.query_id, str(v.measure), v.value) for v in values], columns=["q", "m", "v"]
            ).pivot_table(index="q", columns="m", values="v")
        config = (folder / ".hydra" / "overrides.yaml").read_text()
        key = (
            "rank" if "weight=rank" in config else "l1",
            float(re.findall(r"value=(.*)", config)[0]),
        )
        found[key] = stages["reranked"].mean()
        change = stages["reranked"]["Success@1"] - stages["retrieval"]["Success@1"]
        n_helped, n_hurt = int((change > 0).sum()), int((change < 0).sum())
        if n_helped + n_hurt:  # else there is nothing to test
            p_values[key] = binomtest(n_helped, n_helped + n_hurt).pvalue
    ascending = sorted(p_values, key=p_values.get)
    assert len(ascending) > 1
    steps = [p_values[key] * (len(ascending) - i) for i, key in enumerate(ascending)]
    holm = dict(zip(ascending, np.minimum(np.maximum.accumulate(steps), 1), strict=True))

    result = newsimg_here(
        *("task=table", "tracking=none", "task.runs=[made]", "hydra.run.dir=out"),
        *("task.rows=[normalization,weight]", "task.digits=6"),
    )
    assert result.code == 0, result.output
    assert max(map(len, result.stdout.split("table  ")[0].splitlines())) <= 80
    rows = read_markdown(Path("out/table.md").read_text(encoding="utf-8"))
    assert {(row["normalization"], float(row["weight"])) for row in rows[1:]} == set(found)
    numbers = {(row["normalization"], row["weight"]): row for row in rows}
    text = Path("out/table.csv").read_text(encoding="utf-8")
    for line in csv.DictReader(io.StringIO(text)):
        if not line["weight"]:
            continue
        key = line["normalization"], float(line["weight"])
        row = numbers[line["normalization"], line["weight"]]
        for head, name, other in (
            ("Hits@1", "hits_at_1", "Success@1"),
            ("MRR@10", "mrr_at_10", "RR@10"),
        ):
            assert float(line[name]) == pytest.approx(found[key][other], abs=1e-6)
            assert f"{found[key][other]:.6f}" in row[head]
            assert float(line[f"{name} low"]) <= float(line[name]) <= float(line[f"{name} high"])
        assert float(line["hits_at_1 p"] or "nan") == pytest.approx(
            holm.get(key, np.nan), rel=1e-2, nan_ok=True
        )
    assert "task=tune picks on one split" not in result.stdout.replace("\n", " ")


def test_marks_say_what_is_above_and_below_retrieval_and_the_best_is_bold(tmp_path: Path) -> None:
    table = table_of(make_sweep(tmp_path), rows=["reranker", "weight"], interval=False)
    rows = read_markdown(table.to_markdown())
    shown = {(row["reranker"], row["weight"]): row["Hits@1"] for row in rows}
    # McNemar: 2 / 2^12, 2 / 2^15, 2 / 2^30; 4 against 1 is 0.375. Holm for four changes none.
    assert shown == {
        ("retrieval alone", ""): "0.5000",
        ("nnn", "0.1"): "0.5150",
        ("nnn", "0.2"): "**0.5600†**",
        ("odd_one", "0.1"): "0.4250‡",
        ("odd_one", "0.2"): "0.3500‡",
    }
    assert "for the 4 of 4 runs" in table.note
    assert "picked" not in table.note


def test_a_weight_that_is_in_neither_rows_nor_columns_is_picked_and_the_note_says_so(
    tmp_path: Path,
) -> None:
    rows = read_markdown(table_of(make_sweep(tmp_path)).to_markdown())
    assert [(row["reranker"], row["weight"]) for row in rows] == [
        ("retrieval alone", ""),
        ("nnn", "0.2"),
        ("odd_one", "0.1"),
    ]
    note = table_of(tmp_path).note
    assert "picked on the headlines that they are measured on (val)" in note
    assert "optimistic" in note


def test_columns_are_about_the_values_that_were_asked_for(tmp_path: Path) -> None:
    table = table_of(make_sweep(tmp_path), columns=["weight"], digits=3, interval=False)
    rows = read_markdown(table.to_markdown())
    assert [row["weight 0.2, Hits@1"].strip("*†‡") for row in rows] == ["0.500", "0.560", "0.350"]
    assert [row["weight 0.1, Hits@1"].strip("*†‡") for row in rows] == ["0.500", "0.515", "0.425"]
    # In each column the best is bold.
    assert [row["weight 0.1, Hits@1"][:2] == "**" for row in rows] == [False, True, False]


def test_latex_is_escaped_and_has_booktabs_and_the_best_in_bold(tmp_path: Path) -> None:
    for reranker, n_helped in (("a_b", 12), ("50%&more#{x}", 3)):
        folder = tmp_path / str(n_helped)
        write_run(folder, move_first(200, n_helped, 0), 0.1, {"reranker": reranker})
    text = table_of(tmp_path, columns=["weight"]).to_latex()
    body = text[text.index(r"\begin{tabular}") : text.index(r"\end{tabular}")]
    rules = re.findall(r"\\(toprule|midrule|bottomrule)", body)
    assert rules == ["toprule", "midrule", "bottomrule"]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines[1:]} == {2}
    assert r"a\_b" in body
    assert r"50\%\&more\#\{x\}" in body
    assert re.search(r"\\textbf\{0\.5600\$\^\{\\dagger\}\$ \[", body)
    assert body.count(r"\textbf") == 2  # of each measure one
    caption = re.search(r"\\caption\{(.*)\}\n", text)
    assert caption
    assert not re.search(r"(?<!\\)[%_&#]", caption[1])
    assert r"95 \% bootstrap" in caption[1]
    assert not any(mark in text for mark in DAGGERS)


def test_pipes_in_values_do_not_divide_cells(tmp_path: Path) -> None:
    for i, template in enumerate(("{title}", "{title} | {tags}")):
        config = {"backbone": {"query_template": template}}
        value = f"backbone.query_template={template}"
        ranks = move_first(50, 2 * i, 0)
        write_run(tmp_path / str(i), ranks, 0.1, {"reranker": "nnn"}, [value], config=config)
    rows = read_markdown(table_of(tmp_path).to_markdown())
    assert [row["query_template"] for row in rows] == ["{title}", r"{title} \| {tags}"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": ["rerankers"]}, "task.rows must name .* got 'rerankers'; .* differ in reranker"),
        ({"columns": ["x.y"]}, "task.columns must name options or values of the runs, got 'x.y'"),
        ({"metrics": ["ndcg"]}, "task.metrics must be among hits_at_1, .* got 'ndcg'"),
        ({"rows": ["weight"], "columns": ["weight"]}, "must differ, got 'weight' in both"),
    ],
)
def test_names_that_the_runs_do_not_have_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        table_of(make_sweep(tmp_path), **changes)


def make_task(runs: list[str] | None) -> TableTask:
    return TableTask(
        runs=runs, rows=None, columns=[], metrics=["hits_at_1"], digits=4, interval=True
    )


def test_folders_that_hold_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"task.runs must name folders .*, got None: newsimg task"):
        make_task(None)
    with pytest.raises(ValueError, match=r"holds no finished run of task=evaluate or task=tune"):
        read_runs(make_task([str(tmp_path)]).folders)
    with pytest.raises(FileNotFoundError, match=r"no folder of runs .*nowhere"):
        read_runs([tmp_path / "nowhere"])


def test_the_run_that_reports_on_a_studys_best_trial_is_no_row(tmp_path: Path) -> None:
    make_sweep(tmp_path)
    choices, config = {"reranker": "nnn"}, {"tags": {"report": "test"}}
    write_run(tmp_path / "last", move_first(200, 90, 0), 0.2, choices, config=config)
    assert len(read_runs([tmp_path])) == 4


def test_of_runs_that_chose_their_weight_the_choice_is_shown_and_where_it_was_made(
    tmp_path: Path,
) -> None:
    for reranker, n_helped, weight in (("nnn", 9, 0.75), ("hubness", 4, 0.25)):
        folder = tmp_path / reranker
        config = {"task": {"report_split": "test"}, "weight": {"value": 0.1}}
        choices = {"reranker": reranker}
        write_run(folder, move_first(100, n_helped, 0), 0.1, choices, config=config)
        (folder / "options.csv").write_text(
            f"reranker,normalization,weight\n{reranker},none,{weight}\nother,l1,0.9\n"
        )
    table = table_of(tmp_path, rows=["reranker", "normalization"])
    rows = read_markdown(table.to_markdown())
    assert [(row["reranker"], row["normalization"], row["weight"]) for row in rows] == [
        ("retrieval alone", "", ""),
        ("hubness", "none", "0.25"),
        ("nnn", "none", "0.75"),
    ]
    assert "Weights were chosen on val, and are reported on test." in table.note
    assert "picked" not in table.note
