"""Sample scenes: the known factors of a picture and the severity of its defects."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from newsimg.sample.subjects import SUBJECTS

COLOURS = ("red", "blue", "green", "yellow", "white", "purple")
TIMES = ("day", "dawn", "dusk", "night")
WEATHERS = ("clear", "rain", "snow", "fog", "storm")
VIEWS = ("near", "far", "left", "right")
DEFECTS = ("blur", "noise", "exposure", "watermark", "clickbait")

COUNT_SHARES = (0.46, 0.26, 0.16, 0.12)
TIME_SHARES = (0.40, 0.18, 0.20, 0.22)
WEATHER_SHARES = (0.36, 0.18, 0.16, 0.15, 0.15)

POOR_SEVERITY = 0.5  # a picture with a defect of at least this severity is poor
SHOT_POOR_SHARE = 0.5  # share of poor shots of an event
N_SHOTS, SELECTION_SHARE = 4, 0.95  # news articles show the best of four shots, with this share
COLUMN_SHARE = 0.3  # share of opinion columns, which show the worst shot of their event
WEB_POOR_SHARE = 0.25  # share of poor pictures in the training data

# First part of the seeds, so that training scenes and newsroom scenes have independent streams.
NEWSROOM_STREAM, TRAINING_STREAM, COLUMN_STREAM = 1, 2, 8


@dataclass(frozen=True)
class Scene:
    """The factors of a picture; equal scenes give the same pixels.

    Attributes:
        subject: A key of `SUBJECTS`.
        count: Number of subjects, 1 to 4.
        colour: Main colour, one of `COLOURS`.
        time: Time of day, one of `TIMES`.
        weather: One of `WEATHERS`.
        view: Viewpoint, one of `VIEWS`.
        detail: Seed of all other details (clouds, hills, noise).
        blur, noise, exposure, watermark, clickbait: Severity of each defect in [0, 1].
    """

    subject: str
    count: int
    colour: str
    time: str
    weather: str
    view: str
    detail: int
    blur: float = 0.0
    noise: float = 0.0
    exposure: float = 0.0
    watermark: float = 0.0
    clickbait: float = 0.0

    @property
    def worst_defect(self) -> str:
        """Name of the most severe defect (the first one if all are 0)."""
        return max(DEFECTS, key=lambda name: getattr(self, name))

    @property
    def severity(self) -> float:
        """Severity of the most severe defect, in [0, 1]."""
        return float(getattr(self, self.worst_defect))

    @property
    def is_poor(self) -> bool:
        """Whether the picture has a defect of at least `POOR_SEVERITY`."""
        return self.severity >= POOR_SEVERITY

    @property
    def is_overexposed(self) -> bool:
        """Whether a bad exposure is too bright (else too dark)."""
        return self.detail % 2 == 1

    @property
    def image_quality(self) -> float:
        """Technical quality in [0, 1]: 1 minus the largest of blur, noise and exposure."""
        return 1.0 - max(self.blur, self.noise, self.exposure)

    @property
    def trustworthiness(self) -> float:
        """Trustworthiness in [0, 1]: 1 minus the larger of watermark and clickbait."""
        return 1.0 - max(self.watermark, self.clickbait)


def scene_from_row(row: Mapping[str, str]) -> Scene:
    """Return the scene of a row of scenes.csv; other columns are ignored."""
    return Scene(**{f.name: f.type(row[f.name]) for f in fields(Scene)})  # type: ignore[operator]


def is_held_out(scene: Scene) -> bool:
    """Return whether (subject, time, weather) is held out of training, as 1/7 of them are."""
    key = f"{scene.subject}|{scene.time}|{scene.weather}"
    return zlib.crc32(key.encode()) % 7 == 0


def newsroom_scene(seed: int, number: int) -> Scene:
    """Return the scene of article `number`.

    Args:
        seed: Seed of the newsroom.
        number: 0-based article number; the scenes are independent of each other.

    Returns:
        For a news article the best of `N_SHOTS` shots (with probability `SELECTION_SHARE`, else the
        first shot); for an opinion column the worst.
    """
    rng = np.random.default_rng([NEWSROOM_STREAM, seed, number])
    return _choose_shot(_draw_event(rng), rng, is_column(seed, number))


def is_column(seed: int, number: int) -> bool:
    """Return whether article `number` is an opinion column."""
    return bool(np.random.default_rng([COLUMN_STREAM, seed, number]).random() < COLUMN_SHARE)


def training_scenes(seed: int, poor_share: float = WEB_POOR_SHARE) -> Iterator[Scene]:
    """Draw an infinite stream of training scenes without held-out combinations.

    Args:
        seed: Seed of the stream, which is independent of the newsroom's.
        poor_share: Share of poor pictures.

    Yields:
        Scenes.
    """
    rng = np.random.default_rng([TRAINING_STREAM, seed])
    while True:
        scene = _add_defects(_draw_event(rng), rng, poor_share)
        if not is_held_out(scene):
            yield scene


def training_newsroom(seed: int) -> Iterator[tuple[Scene, bool]]:
    """Draw an infinite stream of scenes selected as in the newsroom, without held-out combinations.

    Args:
        seed: Seed of the stream.

    Yields:
        A scene, and whether it belongs to an opinion column.
    """
    rng = np.random.default_rng([TRAINING_STREAM, seed])
    while True:
        column = bool(rng.random() < COLUMN_SHARE)
        scene = _choose_shot(_draw_event(rng), rng, column)
        if not is_held_out(scene):
            yield scene, column


def _choose_shot(event: Scene, rng: np.random.Generator, column: bool) -> Scene:
    shots = [_add_defects(event, rng, SHOT_POOR_SHARE) for _ in range(N_SHOTS)]
    if column:
        return max(shots, key=lambda shot: shot.severity)
    is_selected = rng.random() < SELECTION_SHARE
    return min(shots, key=lambda shot: shot.severity) if is_selected else shots[0]


def _draw_event(rng: np.random.Generator) -> Scene:
    subject = str(rng.choice(list(SUBJECTS)))
    count = 1 + int(rng.choice(4, p=COUNT_SHARES))
    return Scene(
        subject=subject,
        count=min(count, SUBJECTS[subject].max_count),
        colour=str(rng.choice(COLOURS)),
        time=str(rng.choice(TIMES, p=TIME_SHARES)),
        weather=str(rng.choice(WEATHERS, p=WEATHER_SHARES)),
        view=str(rng.choice(VIEWS)),
        detail=int(rng.integers(2**31)),
    )


def _add_defects(scene: Scene, rng: np.random.Generator, poor_share: float) -> Scene:
    is_poor = rng.random() < poor_share
    n_defects = 1 + int(rng.random() < 0.3)
    names = rng.choice(DEFECTS, size=n_defects, replace=False)
    low, high = (POOR_SEVERITY, 1.0) if is_poor else (0.0, 0.25)
    severities = rng.uniform(low, high, size=n_defects)
    if not is_poor and rng.random() < 0.6:  # most of these have no defect
        severities[:] = 0.0
    found = {str(n): round(float(s), 3) for n, s in zip(names, severities, strict=True)}
    return replace(scene, detail=int(rng.integers(2**31)), **found)  # type: ignore[arg-type]
