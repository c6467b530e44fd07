"""The commands that choose a weight by the answers of a judging."""

import shlex
from pathlib import Path

import yaml

from newsimg.reporting.judged.tuning import list_tuning

SETTINGS = [
    "data.ratings=ratings.csv",
    "task.measure=least_mean_rating",
    "task.report_split=null",
    "rule=bagged",
]


def write_overrides(name: str, reranker: str, *overrides: str) -> Path:
    folder = Path(name, ".hydra")
    folder.mkdir(parents=True)
    folder.joinpath("overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    hydra = {"hydra": {"runtime": {"choices": {"reranker": reranker}}}}
    folder.joinpath("hydra.yaml").write_text(yaml.safe_dump(hydra))
    return Path(name)


def test_the_command_keeps_what_a_run_searched_and_replaces_its_weight_and_task() -> None:
    kept = ["reranker=nnn", "weight=minmax", "+data.filter={source: [a, b]}", "top_k=20"]
    dropped = ["task=infer", "weight.value=0.3", "++task.open=false", "query=null", "rule=widest"]
    folders = {
        "plain": write_overrides("a", "identity", "task=infer", "reranker=identity"),
        "mine": write_overrides("b", "nnn", *dropped, *kept, "data.ratings=old.csv"),
        "same": write_overrides("c", "nnn", "task=infer", "weight.value=0.5", *kept),
    }
    commands = list_tuning(folders)
    assert list(commands) == ["mine"]
    assert shlex.split(commands["mine"]) == ["newsimg", "task=tune", *kept, *SETTINGS]
    assert "'+data.filter={source: [a, b]}'" in commands["mine"]


def test_a_folder_without_overrides_has_the_command_of_the_defaults() -> None:
    Path("bare").mkdir()
    (command,) = list_tuning({"bare": Path("bare")}).values()
    assert shlex.split(command) == ["newsimg", "task=tune", *SETTINGS]
