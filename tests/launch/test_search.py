"""Searches: Hydra's grammar as distributions, and a study that goes on where it was stopped."""

import re

import filelock
import pytest

pytest.importorskip("optuna")

from mlflow import MlflowClient
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from newsimg.launch.optuna.study import Search
from newsimg.launch.optuna.sweeper import OptunaSweeper, parse_params, to_overrides
from newsimg.reporting.study import list_intervals

SPACE = {"x": FloatDistribution(0.0, 1.0), "kind": CategoricalDistribution(["a", "b"])}


def open_search(path, directions=("maximize",), about=None):
    search = Search("study", path / "optuna.db", 28, list(directions), SPACE)
    search.open(about or {"split": "val"})
    return search


def run_trials(search, n_trials):
    for _ in range(n_trials):
        (trial,) = search.ask(1)
        search.tell(trial, [-((trial.params["x"] - 0.3) ** 2)], {})


def list_params(search):
    return [trial.params for trial in search._list("COMPLETE")]


def test_a_study_is_kept_in_the_folder_that_was_named_whatever_its_name(tmp_path):
    search = open_search(tmp_path / "a?b%2Fc")
    run_trials(search, 1)
    search.close()
    assert (tmp_path / "a?b%2Fc" / "optuna.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["a?b%2Fc"]


@pytest.mark.parametrize(
    ("sweep", "distribution"),
    [
        ("x=interval(0,0.5)", FloatDistribution(0.0, 0.5)),
        ("x=int(interval(1,5))", IntDistribution(1, 5)),
        ("x=tag(log,interval(0.01,1))", FloatDistribution(0.01, 1.0, log=True)),
        ("x=range(10,50,10)", IntDistribution(10, 40, step=10)),  # Hydra's ends before `stop`
        ("x=choice(l1,rrf)", CategoricalDistribution(["l1", "rrf"])),
        ("x=0,0.5", CategoricalDistribution(["0", "0.5"])),
    ],
)
def test_a_sweep_in_hydras_grammar_is_searched_over_its_values(sweep, distribution):
    assert parse_params({}, [sweep, "top_k=10"]) == ({"x": distribution}, {"top_k": "top_k=10"})


def test_the_command_line_wins_over_the_params_of_an_experiment():
    space, fixed = parse_params({"x": "interval(0,1)", "y": "1,2"}, ["x=0.5"])
    assert (list(space), fixed) == (["y"], {"x": "x=0.5"})
    with pytest.raises(ValueError, match="needs values to search"):
        parse_params({}, ["x=0.5"])
    assert to_overrides({"x": 0.1 + 0.2, "y": "l1"}) == {"x": "x=0.3", "y": "y=l1"}


def test_a_search_that_was_killed_ends_as_one_that_was_not(tmp_path):
    (tmp_path / "whole").mkdir()
    whole = open_search(tmp_path / "whole")
    run_trials(whole, 14)
    killed = open_search(tmp_path)
    run_trials(killed, 11)
    (lost,) = killed.ask(1)
    killed.close()  # and nobody is told of the trial
    resumed = open_search(tmp_path)
    assert resumed.n_finished == 11
    run_trials(resumed, 3)
    assert list_params(resumed)[11] == lost.params
    assert list_params(resumed) == list_params(whole)
    assert [t.params for t in resumed.find_best()] == [
        max(list_params(whole), key=lambda params: -abs(params["x"] - 0.3))
    ]


def test_a_study_is_searched_by_one_process_at_a_time_and_for_one_thing(tmp_path):
    search = open_search(tmp_path)
    with pytest.raises(ValueError, match="is in use by another process"):
        open_search(tmp_path)
    search.close()
    with pytest.raises(ValueError, match=r"was made with .*'val'.* got .*'train'.*another name"):
        open_search(tmp_path, about={"split": "train"})
    open_search(tmp_path).close()


def test_the_best_of_two_objectives_are_those_that_no_other_beats_in_both(tmp_path):
    search = open_search(tmp_path, ["maximize", "minimize"])
    values = [(0.4, 10), (0.5, 20), (0.4, 20), (0.5, 20), (0.3, 5)]
    for trial, pair in zip(search.ask(len(values)), values, strict=True):
        search.tell(trial, pair, {})
    assert [tuple(trial.values) for trial in search.find_best()] == [(0.5, 20), (0.4, 10), (0.3, 5)]


def test_a_gain_is_reported_of_reranking_alone():
    assert list_intervals(["reranked/mrr_at_5"])[0] == "delta/mrr_at_5"
    assert list_intervals(["curve/best_hits_at_1"]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_trials": 0}, "n_trials must be at least 1, got 0"),
        ({"directions": ["minimize"]}, "directions must be maximize"),
    ],
)
def test_a_search_that_cannot_be_is_refused(change, message):
    settings = {"study": None, "storage": "optuna.db", "n_trials": 1, "n_jobs": 1, "seed": 0}
    settings |= {"directions": ["maximize"], "report_split": None, "params": None}
    with pytest.raises(ValueError, match=message):
        OptunaSweeper(**settings | change)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["hydra/sweeper=optuna"], "hydra.sweeper.study=search in .* is in use by another process"),
        (["hydra/sweeper=optuna", "data.split=test"], "report_split must be another split"),
        (["reranker=identity,typo"], "reranker must be one of .*, got 'typo'"),
    ],
)
def test_a_sweep_that_is_refused_leaves_no_run(options, reason, newsimg_here, tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    with filelock.FileLock(folder / "optuna.db.search.lock"):
        refused = newsimg_here("-m", "weight.value=0,0.1", "folder=runs", *options)
    assert refused.code == 2, refused.output
    assert re.search(reason, refused.stderr), refused.output
    assert "Traceback" not in refused.output
    assert not list(folder.rglob(".tracking/*.json"))
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    assert not client.search_runs([e.experiment_id for e in client.search_experiments()])
