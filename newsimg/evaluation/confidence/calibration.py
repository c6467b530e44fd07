"""The probability that a headline's first picture is the right one, calibrated on judged headlines.

A cosine is no probability: its scale depends on the model, and a high one says little if the next
is as high. A logistic regression of the features in `features.py` on whether the first picture was
right (Platt, 1999, "Probabilistic outputs for support vector machines") gives one, optionally
followed by an isotonic regression (Zadrozny and Elkan, 2002).
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from newsimg.datatypes import Candidates, FusedArray
from newsimg.evaluation.confidence.features import describe_first
from newsimg.storage.files import write_atomically

log = logging.getLogger(__name__)

FORMAT = 1
RIGHT = "the first picture is the editor's"


@dataclass(frozen=True)
class Calibration:
    """A fitted calibration.

    Attributes:
        setting: Config values that it holds for, by name.
        n_images: Number of pictures that were searched.
        n_queries: Number of queries that it was fitted to.
        features: Names of the features.
        means: Mean of each feature, which also replaces unknown values.
        scales: Standard deviation of each feature.
        coefficients: Of the standardised features.
        intercept: Of the logistic regression.
        steps: Isotonic regression: log odds, ascending, and their probabilities; None for none.
        target: What it is the probability of, in words.
    """

    setting: Mapping[str, str]
    n_images: int
    n_queries: int
    features: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    steps: tuple[tuple[float, ...], tuple[float, ...]] | None
    target: str = RIGHT

    def predict(self, features: Mapping[str, FusedArray]) -> FusedArray:
        """Return the confidence of each query, (n_queries,) in [0, 1].

        Raises:
            ValueError: If the features are others than those that were fitted.
        """
        if set(features) != set(self.features):
            raise ValueError(
                f"the confidence was calibrated on {', '.join(self.features)}, "
                f"got {', '.join(features)}"
            )
        odds = self.intercept + standardize(
            stack(features, self.features), np.array(self.means), np.array(self.scales)
        ) @ np.array(self.coefficients)
        if self.steps is not None:
            return np.interp(odds, np.array(self.steps[0]), np.array(self.steps[1]))
        return 1 / (1 + np.exp(-odds))

    def save(self, path: Path) -> None:
        """Write the calibration as JSON."""
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps({"format": FORMAT} | asdict(self), indent=2))


def fit_calibration(
    features: Mapping[str, FusedArray],
    is_right: NDArray[np.bool_],
    *,
    isotonic: bool,
    setting: Mapping[str, str],
    n_images: int,
    target: str = RIGHT,
) -> Calibration:
    """Fit a calibration.

    Args:
        features: See `describe_first`.
        is_right: (n_queries,) whether the first picture is the relevant one, or is rated well.
        isotonic: Whether to fit an isotonic regression to the log odds; needs many queries.
        setting: See `Calibration`.
        n_images: See `Calibration`.
        target: See `Calibration`.

    Raises:
        ValueError: If the first picture is right for none or for all queries.
    """
    n_right = int(is_right.sum())
    if n_right in (0, len(is_right)):
        raise ValueError(
            "a calibration needs headlines whose first picture is right and others whose is wrong, "
            f"got {n_right} of {len(is_right)} where {target}"
        )
    from sklearn.isotonic import IsotonicRegression  # takes a second
    from sklearn.linear_model import LogisticRegression

    names = tuple(name for name, values in features.items() if np.isfinite(values).any())
    table = stack(features, names)
    means = np.nanmean(table, axis=0)
    scales = np.nanstd(table, axis=0)
    scales[scales < 1e-12] = 1.0
    standard = standardize(table, means, scales)
    model = LogisticRegression().fit(standard, is_right)
    steps = None
    if isotonic:
        order = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        order.fit(model.decision_function(standard), is_right)
        steps = _to_floats(order.X_thresholds_), _to_floats(order.y_thresholds_)
    return Calibration(
        setting=dict(setting),
        n_images=n_images,
        n_queries=len(is_right),
        features=names,
        means=_to_floats(means),
        scales=_to_floats(scales),
        coefficients=_to_floats(model.coef_[0]),
        intercept=float(model.intercept_[0]),
        steps=steps,
        target=target,
    )


def load_calibration(path: Path, setting: Mapping[str, str]) -> Calibration:
    """Read a calibration and check that it was made for this setting.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a calibration, or of another setting; names what differs.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no calibration at {path}: newsimg task=calibrate writes one (confidence.json)"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version = found.pop("format")
        for name in ("features", "means", "scales", "coefficients"):
            found[name] = tuple(found[name])
        if found["steps"] is not None:
            found["steps"] = tuple(found["steps"][0]), tuple(found["steps"][1])
        calibration = Calibration(**found)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is no calibration written by newsimg task=calibrate") from error
    if version != FORMAT:
        raise ValueError(f"{path} must have format {FORMAT}, got {version}")
    check_setting(path, calibration.setting, setting)
    return calibration


def rate_first(calibration: Calibration, reranked: Candidates, n_images: int) -> FusedArray:
    """Return the confidence in the first candidate of each query, (n_queries,).

    Args:
        calibration: See `load_calibration`.
        reranked: Candidates after reranking.
        n_images: Number of pictures searched; a warning says if it was calibrated on half or double
            as many, as the right picture is harder to find among more.
    """
    if not 0.5 < n_images / calibration.n_images < 2:
        log.warning(
            "the confidence was calibrated among %d pictures and is used among %d: it may be "
            "too high or too low",
            calibration.n_images,
            n_images,
        )
    return calibration.predict(describe_first(reranked))


def check_setting(path: Path, calibrated: Mapping[str, str], setting: Mapping[str, str]) -> None:
    """Check that two settings are equal.

    Raises:
        ValueError: If they are not; names up to three differences.
    """
    names = [
        name for name in {**calibrated, **setting} if calibrated.get(name) != setting.get(name)
    ]
    if names:
        differences = ", ".join(
            f"{name} {calibrated.get(name, 'unset')} (now {setting.get(name, 'unset')})"
            for name in names[:3]
        )
        left = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ValueError(
            f"{path} was calibrated with {differences}{left}: a confidence holds for one setting; "
            "run newsimg task=calibrate with this one"
        )


def stack(features: Mapping[str, FusedArray], names: tuple[str, ...]) -> FusedArray:
    """Return the features as columns: (n_queries, n_features)."""
    return np.stack([features[name] for name in names], axis=1)


def standardize(table: FusedArray, means: FusedArray, scales: FusedArray) -> FusedArray:
    """Subtract the means and divide by the scales; an unknown value becomes 0, the mean."""
    return np.nan_to_num((table - means) / scales, nan=0.0)


def _to_floats(values: FusedArray) -> tuple[float, ...]:
    return tuple(map(float, values))
