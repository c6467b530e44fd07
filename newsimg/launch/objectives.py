"""What a sweep looks for in the metrics of its jobs."""


def list_objectives(objective: str | list[str] | None) -> list[str]:
    """Return the names of the metrics that sweepers look at."""
    return [objective] if isinstance(objective, str) else list(objective or [])


def choose_objectives(metrics: dict[str, float], sought: list[str]) -> dict[str, float]:
    """Return the metrics that sweepers look at.

    Raises:
        ValueError: If the task gave no such metric.
    """
    for name in sought:
        if name not in metrics:
            raise ValueError(f"objective must be one of {', '.join(metrics)}, got {name}")
    return {name: metrics[name] for name in sought}


def unpack(objectives: dict[str, float]) -> float | tuple[float, ...] | None:
    """Return the values as sweepers expect them: nothing, a number or several."""
    values = tuple(objectives.values())
    return values if len(values) > 1 else values[0] if values else None
