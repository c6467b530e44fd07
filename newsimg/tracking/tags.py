"""Tags of runs that trackers and launchers agree on."""

from collections.abc import Mapping

JOB_TAG = "job"  # the tag that tells which job of its sweep a run is, counted from 0
# Metrics that say how far the others can be compared -> what goes without saying. They become tags,
# too, for tables of runs show tags first.
TAGGED = {"ground_truth_share": 1.0}


def pick_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the metrics that are tags as well."""
    return {
        name: f"{metrics[name]:.4g}"
        for name, usual in TAGGED.items()
        if metrics.get(name, usual) != usual
    }
