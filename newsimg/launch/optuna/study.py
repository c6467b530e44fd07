"""An Optuna study that survives killed processes."""

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
    """Asks Optuna for trials and reports their results.

    The random numbers of a trial depend on `seed` and the finished trials, so that a stopped study
    continues as if it had not been stopped.

    Args:
        name: Name of the study.
        path: SQLite file of the study.
        seed: Seed of the sampler, Optuna's TPE (Bergstra et al., 2011).
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
        """Create or resume the study, and lock it until `close`.

        Trials of a killed process are repeated first.

        Args:
            about: Settings shared by all trials of a study.

        Raises:
            ValueError: If another process has locked the study, or its settings differ.
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
        """Release the lock."""
        self._lock.release()

    @property
    def n_finished(self) -> int:
        """Number of finished trials."""
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
        """Record the values of a trial, one per objective, and further metrics."""
        for name, value in also.items():
            trial.set_user_attr(name, value)
        self._study.tell(trial, list(values))

    def fail(self, trial: "Trial") -> None:
        """Record that a trial failed."""
        self._study.tell(trial, state=_states().FAIL)

    def find_best(self) -> list["FrozenTrial"]:
        """Return the best trial, or for several objectives one per point of the Pareto front."""
        front: dict[tuple[float, ...], FrozenTrial] = {}
        for trial in self._study.best_trials:
            front.setdefault(tuple(trial.values), trial)
        best = [front[point] for point in sorted(front, reverse=True)]
        return best if len(self.directions) > 1 else best[:1]

    def list_trials(self) -> "pd.DataFrame":
        """Return one row per trial, failed ones included."""
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
