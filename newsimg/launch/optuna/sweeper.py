"""A sweeper whose jobs are the trials of an Optuna study."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from newsimg.evaluation.metric_names import list_companions, list_intervals
from newsimg.launch.job import list_objectives
from newsimg.launch.optuna.study import Search

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

PLACES = {"folder", "resume", "cache.dir", "tracking", "tracking.uri"}  # do not change results


class OptunaSweeper(Sweeper):
    """Optimises `objective` over `params`, and reports the best trial on the test split.

    `params` and the command line use Hydra's grammar: choice(), range(), interval(). The same
    command continues the study with the missing trials.

    Args:
        study: Name of the study; None for "search".
        storage: SQLite file of the study.
        n_trials: Total number of finished trials.
        n_jobs: Number of parallel trials.
        seed: Seed of Optuna's sampler.
        directions: "maximize" or "minimize" for each objective; the first is maximised.
        report_split: Split to report the best trial on, not used for choosing; None for none.
        params: Name -> sweep.

    Raises:
        ImportError: If Optuna is not installed.
        ValueError: If a number is below 1, or a direction is unknown.
    """

    def __init__(
        self,
        *,
        study: str | None,
        storage: str,
        n_trials: int,
        n_jobs: int,
        seed: int,
        directions: Sequence[Literal["maximize", "minimize"]],
        report_split: str | None,
        params: Mapping[str, str] | None,
    ) -> None:
        for name, number in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            if number < 1:
                raise ValueError(f"hydra.sweeper.{name} must be at least 1, got {number}")
        if list(directions)[:1] != ["maximize"] or not set(directions) <= {"maximize", "minimize"}:
            raise ValueError(
                "hydra.sweeper.directions must be maximize, and maximize or minimize for each "
                f"further objective, got {list(directions)}"
            )
        if find_spec("optuna") is None:
            raise ImportError("hydra/sweeper=optuna needs Optuna: pip install newsimg[optuna]")
        self.study = study or "search"
        self.storage = Path(storage).expanduser().absolute()
        self.n_trials = n_trials
        self.n_jobs = n_jobs
        self.seed = seed
        self.directions = list(directions)
        self.report_split = report_split
        self.params = dict(params or {})
        self._launcher: Launcher
        self._n_launched = 0

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """See Hydra's `Sweeper.setup`."""
        self._config = config
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """See Hydra's `Sweeper.sweep`.

        Raises:
            CompactHydraException: If there is nothing to search or nothing to search for, the study
                is one of something else or in use, or the search would see the split that it is
                reported on.
        """
        task = self._config.hydra.runtime.choices.task
        objectives = list_objectives(self._config.objective, task)
        try:
            self._check(objectives)
            space, fixed = parse_params(self.params, arguments)
            search = Search(self.study, self.storage, self.seed, self.directions, space)
            common = {name: text for name, text in fixed.items() if name not in PLACES}
            split = self._config.data.get("split")
            search.open({"objective": objectives, "split": split, "overrides": common})
        except ValueError as error:
            raise CompactHydraException(str(error)) from None  # printed without a traceback
        output_dir = Path(self._config.hydra.sweep.dir) / "summary"
        output_dir.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config, output_dir.parent / "multirun.yaml")
        try:
            while missing := max(self.n_trials - search.n_finished, 0):
                self._run_trials(search, fixed, objectives, min(missing, self.n_jobs))
            if self.report_split is not None:
                self._report(search.find_best(), fixed, objectives, output_dir)
        finally:  # also after the error of a trial
            search.list_trials().to_csv(output_dir / "trials.csv", index=False)
            search.close()

    def _check(self, objectives: list[str]) -> None:
        if len(objectives) != len(self.directions):
            raise ValueError(
                f"objective must name a metric for each of hydra.sweeper.directions="
                f"{self.directions}, got {objectives}"
            )
        split = self._config.data.get("split")
        if self.report_split is not None and split in (None, "all", self.report_split):
            raise ValueError(
                "hydra.sweeper.report_split must be another split than data.split, "
                f"got {self.report_split} and {split}"
            )

    def _run_trials(
        self, search: Search, fixed: dict[str, str], objectives: list[str], n_trials: int
    ) -> None:
        trials = search.ask(n_trials)
        names = [*objectives, *list_companions(objectives)]
        results = self._launch([fixed | to_overrides(trial.params) for trial in trials], names)
        for trial, job in zip(trials, results, strict=True):
            if job.status == JobStatus.COMPLETED:
                search.tell(trial, *split_values(job.return_value, names, len(objectives)))
            else:
                search.fail(trial)
        for job in results:
            _ = job.return_value  # raises the error of a job after the others are recorded

    def _report(
        self,
        best: "list[FrozenTrial]",
        fixed: dict[str, str],
        objectives: list[str],
        output_dir: Path,
    ) -> None:
        from newsimg.reporting.study import report_best  # imports pandas, too slow for --help

        split = self.report_split
        unseen = {"data.split": f"data.split={split}", "tags": f"+tags.report={split}"}
        names = [*objectives, *list_companions(objectives), *list_intervals(objectives)]
        jobs = self._launch([fixed | to_overrides(trial.params) | unseen for trial in best], names)
        found = [dict(zip(names, _listed(job.return_value), strict=True)) for job in jobs]
        report_best(best, objectives, found, (self._config.data.split, str(split)), output_dir)

    def _launch(self, jobs: list[dict[str, str]], names: list[str]) -> Sequence[JobReturn]:
        objective = {"objective": f"objective=[{','.join(names)}]"}
        overrides = [list((job | objective).values()) for job in jobs]
        results = self._launcher.launch(overrides, initial_job_idx=self._n_launched)
        self._n_launched += len(results)
        return results


def parse_params(
    params: Mapping[str, str], arguments: Sequence[str]
) -> "tuple[dict[str, BaseDistribution], dict[str, str]]":
    """Split overrides into swept and constant ones.

    Args:
        params: Name -> value or sweep in Hydra's grammar.
        arguments: Overrides of the command line, which take precedence.

    Returns:
        Name -> distribution, and name -> constant override.

    Raises:
        ValueError: If nothing is swept.
    """
    lines = [f"{name}={value}" for name, value in params.items()] + list(arguments)
    parsed = {
        override.get_key_element(): override
        for override in OverridesParser.create().parse_overrides(lines)
    }
    space = {
        name: to_distribution(override)
        for name, override in parsed.items()
        if override.is_sweep_override()
    }
    if not space:
        raise ValueError(
            "hydra/sweeper=optuna needs values to search, in hydra.sweeper.params or on the "
            "command line: 'weight.value=interval(0,0.5)'"
        )
    fixed = {name: o.input_line or "" for name, o in parsed.items() if name not in space}
    return space, fixed


def to_distribution(override: Override) -> "BaseDistribution":
    """Return Optuna's distribution for a sweep; values without a numeric order are categories."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    numbers: list[Any] = []
    step = None
    if isinstance(value, IntervalSweep):
        numbers = [value.start, value.end]
    elif isinstance(value, RangeSweep) and not value.shuffle and value.step > 0:
        numbers, step = list(override.sweep_iterator()), value.step  # Optuna would count `stop` in
    if numbers:
        whole = all(isinstance(number, int) for number in numbers)
        kind: Any = IntDistribution if whole else FloatDistribution
        log = isinstance(value, IntervalSweep) and "log" in value.tags
        return kind(numbers[0], numbers[-1], log=log, step=step or (1 if whole else None))
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def to_overrides(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the overrides of a trial; a stepped number such as 0.30000000000000004 is 0.3."""
    return {
        name: f"{name}={f'{value:.10g}' if isinstance(value, float) else value}"
        for name, value in params.items()
    }


def split_values(
    returned: Any, names: Sequence[str], n_objectives: int
) -> tuple[list[float], dict[str, float]]:
    """Split the return value of a job into objectives and further metrics."""
    values = _listed(returned)
    return values[:n_objectives], dict(
        zip(names[n_objectives:], values[n_objectives:], strict=True)
    )


def _listed(returned: Any) -> list[float]:
    return [returned] if isinstance(returned, float | int) else list(returned)
