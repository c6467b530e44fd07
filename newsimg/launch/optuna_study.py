"""A study of Optuna's that a killed process does not spoil."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import filelock

from newsimg.tracking.uri import sqlite_uri

if TYPE_CHECKING:
    import pandas as pd
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)


class Search:
    """Asks Optuna what to try, and tells it what came of it.

    The random numbers of a trial follow from `seed` and the trials finished before it, so that a
    search that was stopped goes on as if it had not been.

    Args:
        name: Of the study.
        path: SQLite file that keeps it.
        seed: Of the sampler, Optuna's TPE (Bergstra et al., 2011).
        directions: "maximize" or "minimize" for each objective.
        space: Name -> distribution to choose from.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        seed: int,
        directions: Sequence[Literal["maximize", "minimize"]],
        space: Mapping[str, "BaseDistribution"],
    ) -> None:
        self.name = name
        self.path = path
        self.seed = seed
        self.directions = list(directions)
        self.space = dict(space)
        self._study: Study
        self._lock: filelock.BaseFileLock

    def open(self, about: Mapping[str, Any]) -> None:
        """Make the study or take it up again, and keep other processes from it until `close`.

        Trials that a killed process has left behind are run again, first of all.

        Args:
            about: What the trials have in common; those of a study agree in it.

        Raises:
            ValueError: If another process is at it, or the study is about something else.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(f"{self.path}.{self.name}.lock", blocking=False)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise ValueError(
                f"hydra.sweeper.study={self.name} in {self.path} is in use by another process: "
                "wait for its end, or give this one another name"
            ) from None
        self._study = optuna.create_study(
            study_name=self.name,
            storage=sqlite_uri(self.path),
            directions=list(self.directions),
            load_if_exists=True,
        )
        about = {**about, "directions": self.directions}
        known = self._study.user_attrs.get("about", about)
        if known != about:
            self.close()
            raise ValueError(
                f"hydra.sweeper.study={self.name} in {self.path} was made with {known}, "
                f"got {about}: give it another name"
            )
        self._study.set_user_attr("about", about)
        self._requeue()

    def close(self) -> None:
        """Leave the study to other processes."""
        self._lock.release()

    @property
    def n_finished(self) -> int:
        """Number of trials that gave a value."""
        return len(self._list("COMPLETE"))

    def ask(self, n_trials: int) -> list["Trial"]:
        """Choose values for some trials."""
        from optuna.samplers import TPESampler

        trials = []
        for number in range(self.n_finished, self.n_finished + n_trials):
            self._study.sampler = TPESampler(seed=self.seed + number)
            trials.append(self._study.ask(self.space))
        return trials

    def tell(self, trial: "Trial", values: Sequence[float], also: Mapping[str, float]) -> None:
        """Keep what a trial gave: a value for each objective, and further metrics."""
        for name, value in also.items():
            trial.set_user_attr(name, value)
        self._study.tell(trial, list(values))

    def fail(self, trial: "Trial") -> None:
        """Keep that a trial gave nothing."""
        self._study.tell(trial, state=_states().FAIL)

    def find_best(self) -> list["FrozenTrial"]:
        """Return the best trial, or of several objectives the Pareto front, one for each point."""
        front: dict[tuple[float, ...], FrozenTrial] = {}
        for trial in self._study.best_trials:
            front.setdefault(tuple(trial.values), trial)
        best = [front[point] for point in sorted(front, reverse=True)]
        return best if len(self.directions) > 1 else best[:1]

    def list_trials(self) -> "pd.DataFrame":
        """Return a row for each trial, whatever became of it."""
        return self._study.trials_dataframe(("number", "state", "value", "params", "user_attrs"))

    def _requeue(self) -> None:
        for trial in self._list("RUNNING"):
            log.info("trial %d was not finished and is run again", trial.number)
            self._study.tell(trial.number, state=_states().FAIL)
            if trial.params:
                self._study.enqueue_trial(trial.params)

    def _list(self, state: str) -> list["FrozenTrial"]:
        return self._study.get_trials(deepcopy=False, states=(_states()[state],))


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState
