"""Tags that trackers and launchers share."""

from collections.abc import Mapping

JOB_TAG = "job"  # tag with the number of a job in its sweep, from 0
# Metrics that restrict the comparability of a run -> usual value. Unusual values are also logged as
# tags, as tables of runs show tags first.
TAGGED = {"ground_truth_share": 1.0}


def pick_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the metrics that are also logged as tags."""
    return {
        name: f"{metrics[name]:.4g}"
        for name, usual in TAGGED.items()
        if metrics.get(name, usual) != usual
    }
