"""Finished runs on disk: their overrides and results."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from newsimg.evaluation.stats import correct_holm
from newsimg.tracking.record import RECORDS

STATISTICS = "statistics.csv"
RATED = "ratings.csv"  # the same of measures by people's ratings, by task=evaluate
# Keys that do not change rankings: locations and further outputs.
IGNORED = re.compile(
    r"(folder|objective|resume|tags|tracking|cache|submission)\b"
    r"|task\.(n_sheet_queries|report)$"
)
NAMES = {"weight": "normalization", "weight.value": "weight"}  # as a run's params have them
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, if available


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run, read from its folder.

    Attributes:
        folder: The run's folder.
        overrides: Overrides: key -> text.
        choices: Chosen options: group -> option.
        config: All values.
        statistics: A row per measure, such as `reranked/hits_at_1`: `value`, `low`, `high`, `p`.
    """

    folder: Path
    overrides: Mapping[str, str]
    choices: Mapping[str, Any]
    config: Mapping[str, Any]
    statistics: pd.DataFrame

    def find_value(self, name: str) -> Any:
        """Return an option or a value by its key; None if the run does not have it."""
        if name == "weight":
            return self.weight
        if name in ("reranker", "normalization") and self.is_tuned:
            return self.choice[name]
        if name == "normalization":
            return self.choices.get("weight")
        if name in self.choices:
            return self.choices[name]
        value: Any = self.config
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return self.overrides.get(name) if value is None else value

    @property
    def is_tuned(self) -> bool:
        """Whether the weight was chosen on other queries than the reported ones."""
        return (self.folder / "options.csv").is_file()

    @cached_property
    def choice(self) -> Mapping[str, Any]:
        """What `task=tune` chose: `reranker`, `normalization`, `weight`."""
        return pd.read_csv(self.folder / "options.csv", keep_default_na=False).iloc[0].to_dict()

    @property
    def weight(self) -> float:
        """The reranker's share."""
        return float(self.choice["weight"] if self.is_tuned else self.config["weight"]["value"])

    @property
    def split(self) -> str:
        """The reported split."""
        own = str(self.config["data"].get("split", "all"))
        reported = self.config["task"].get("report_split") if self.is_tuned else own
        return str(reported) if reported else f"folds of {own}"

    @property
    def chosen_on(self) -> str | None:
        """The split that `task=tune` chose on."""
        return str(self.config["data"].get("split", "all")) if self.is_tuned else None

    @cached_property
    def curve(self) -> pd.DataFrame | None:
        """The measures over all weights, if known; not for `task=tune`."""
        path = self.folder / "curve.csv"
        return pd.read_csv(path) if path.is_file() and not self.is_tuned else None

    @cached_property
    def n_queries(self) -> int:
        """Number of queries that are reported on; 0 if unknown."""
        path = self.folder / "queries.csv"
        return len(pd.read_csv(path, usecols=["query_id"])) if path.is_file() else 0

    @cached_property
    def ignores_weight(self) -> bool:
        """Whether every weight gives the same ranks, as those of `reranker=identity` do."""
        path = self.folder / "curve.csv"
        if self.is_tuned or not path.is_file():
            return False
        with path.open(encoding="utf-8") as file:
            return sum(1 for _ in islice(file, 3)) == 2  # the header and one interval

    @property
    def link(self) -> str:
        """Placeholder for the link to the run in the sweep's note; empty if it is not tracked."""
        records = sorted((self.folder / RECORDS).glob("*.json"))
        return f"record:{records[0].stem}" if records else ""


def read_runs(folders: Iterable[Path]) -> list[FinishedRun]:
    """Read the runs of task=evaluate and task=tune in some folders, in the order of the jobs.

    The report run of a study is left out, as it has another split.

    Raises:
        FileNotFoundError: If a folder does not exist.
        ValueError: If a folder has no finished run.
    """
    runs = []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder of runs {folder}")
        found = find_runs(folder)
        if not found:
            raise ValueError(f"{folder} holds no finished run of task=evaluate or task=tune")
        runs += found
    return list({run.folder.resolve(): run for run in runs}.values())


def find_runs(folder: Path) -> list[FinishedRun]:
    """Return the runs in a folder, which may be none; see `read_runs`."""
    paths = [p for p in folder.rglob(STATISTICS) if (p.parent / "config.yaml").is_file()]
    found = [_read_run(path.parent, folder) for path in sorted(paths, key=_order)]
    return [run for run in found if "report" not in (run.config.get("tags") or {})]


def list_differences(runs: Sequence[FinishedRun]) -> list[str]:
    """Return the overridden keys that differ between runs."""
    names = dict.fromkeys(NAMES.get(name, name) for run in runs for name in run.overrides)
    return [name for name in names if len({repr(run.find_value(name)) for run in runs}) > 1]


def name_rows(runs: Sequence[FinishedRun]) -> list[str]:
    """Return the keys of rows: all that differ except the weight."""
    return [name for name in list_differences(runs) if name != "weight"] or ["reranker"]


def list_swept(sweep_dir: Path) -> list[str]:
    """Return the keys that differ between the jobs of a sweep, failed jobs included."""
    paths = sorted(sweep_dir.rglob(".hydra/overrides.yaml"))
    jobs = [_read_overrides(path) for path in paths if "+tags.report=" not in path.read_text()]
    names = dict.fromkeys(name for job in jobs for name in job)
    return [NAMES.get(name, name) for name in names if len({job.get(name, "") for job in jobs}) > 1]


def correct_p_values(runs: Sequence[FinishedRun], measure: str) -> np.ndarray:
    """Return the Holm-corrected p value of each run's gain over retrieval.

    NaN for runs that do not change any query; they are not counted.
    """
    rows = [run.statistics.loc[f"delta/{measure}"] for run in runs]
    p_values = [
        np.nan if row["low"] == row["high"] == 0 == row["value"] else row["p"] for row in rows
    ]
    return correct_holm(np.array(p_values, dtype=float))


def count_tested(runs: Sequence[FinishedRun], measure: str) -> int:
    """Return the number of runs that `correct_p_values` corrects for."""
    return int(np.isfinite(correct_p_values(runs, measure)).sum())


def name_option(name: str, value: str, short: Mapping[str, str]) -> str:
    """Return a value for a sentence: options without key, other values with key."""
    return value if "." not in name else f"{short[name].replace(' ', '.')}={value}"


def write_value(value: Any) -> str:
    """Format a value for a table: numbers with at most four digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:.4g}"


def write_values(values: Sequence[Any]) -> list[str]:
    """Format values for a table, with enough digits to distinguish them."""
    texts = list(map(write_value, values))
    return texts if len(set(texts)) == len(set(map(repr, values))) else list(map(str, values))


def shorten_names(names: Sequence[str]) -> dict[str, str]:
    """Return the shortest unambiguous suffix of each dotted name.

    The parts are separated by spaces, so that headers can be wrapped.
    """
    parts = {name: name.split(".") for name in names}
    short = {}
    for name, own in parts.items():
        ends = [" ".join(own[i:]) for i in range(len(own) - 1, -1, -1)]
        others = [f" {' '.join(other)}" for key, other in parts.items() if key != name]
        alone = (end for end in ends if not any(o.endswith(f" {end}") for o in others))
        short[name] = next(alone, ends[-1])
    return short


def label_runs(runs: Sequence[FinishedRun], names: Sequence[str]) -> list[dict[str, str]]:
    """Return for each run the formatted values of some keys.

    The weight of a run that has the same ranks at every weight is "any", and so is its
    normalisation, if that holds for all that were tried.
    """
    own = [name for name in list_differences(runs) if name not in NAMES.values()]
    kinds = [repr([run.find_value(name) for name in own]) for run in runs]
    moved = {kind for kind, run in zip(kinds, runs, strict=True) if not run.ignores_weight}

    texts = {name: write_values([run.find_value(name) for run in runs]) for name in names}

    def label(i: int, name: str) -> str:
        is_any = runs[i].ignores_weight if name == "weight" else kinds[i] not in moved
        return "any" if name in NAMES.values() and is_any else texts[name][i]

    return [{name: label(i, name) for name in names} for i in range(len(runs))]


def describe(run: FinishedRun, names: Sequence[str]) -> str:
    """Return the values of some keys in one line."""
    short = shorten_names(names)
    return ", ".join(name_option(n, write_value(run.find_value(n)), short) for n in names)


def read_config(
    folder: Path, top: Path
) -> tuple[Mapping[str, str], Mapping[str, Any], Mapping[str, Any]]:
    """Return the overrides of a run, its options and its values.

    Args:
        folder: The run's folder.
        top: The outermost folder that may have Hydra's files.
    """
    # If the folder of a job was in use, it has a subfolder: Hydra's files are in the outer one.
    above = [folder, *folder.parents]
    hydra_dir = next((f / ".hydra" for f in above if (f / ".hydra").is_dir() or f == top), folder)
    hydra: Any = _load(hydra_dir / "hydra.yaml") or {}
    choices = ((hydra.get("hydra") or {}).get("runtime") or {}).get("choices") or {}
    overrides = _read_overrides(hydra_dir / "overrides.yaml")
    return overrides, choices, _load(folder / "config.yaml")


def _read_run(folder: Path, top: Path) -> FinishedRun:
    known = read_config(folder, top)
    return FinishedRun(folder, *known, _read_statistics(folder))


def _read_statistics(folder: Path) -> pd.DataFrame:
    paths = [path for path in (folder / STATISTICS, folder / RATED) if path.is_file()]
    tables = [table for table in map(pd.read_csv, paths) if "measure" in table]
    return pd.concat(tables).drop_duplicates("measure").set_index("measure")


def _read_overrides(path: Path) -> dict[str, str]:
    pairs = (str(text).lstrip("+~").partition("=") for text in _load(path) or [])
    return {name: value for name, _, value in pairs if not IGNORED.match(name)}


def _load(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), LOADER) if path.is_file() else None


def _order(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.parts]
