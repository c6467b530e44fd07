"""Simulated people who rate pictures of the sample newsroom, by a model whose truth is known.

The appeal of a picture for an article is, on the scale of 1 to 5,

    1 + 4 * (0.75 * fit + 0.25 * quality) - 1.5 * clickbait - 0.5 * watermark

where *fit* in [0, 1] compares the picture's scene with the article's (0.5 for the subject, the rest
for the other factors, of which a picture of another subject gets a third), *quality* in [0, 1] is
the technical quality (blur, noise, exposure), and *clickbait* and *watermark* are severities in
[0, 1]. A person's rating is the appeal minus the person's strictness, with noise, rounded to a
whole number in [1, 5]. Strictness and noise are normal.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from newsimg.datatypes import FusedArray
from newsimg.sample.scenes import Scene, scene_from_row
from newsimg.storage.csv_table import read_table

LOW, HIGH = 1, 5
FACTORS = {"count": 0.1, "colour": 0.125, "time": 0.125, "weather": 0.15}
SUBJECT_SHARE = 0.5
OTHER_SUBJECT = 1 / 3
CLICKBAIT, WATERMARK = 1.5, 0.5


@dataclass(frozen=True)
class RaterModel:
    """How people differ.

    Attributes:
        strictness: Standard deviation of the strictness of people.
        noise: Standard deviation of the noise of a rating.
    """

    strictness: float
    noise: float

    def expect(self, appeal: FusedArray) -> FusedArray:
        """Return the mean rating over all people and noise, exactly."""
        from scipy.special import ndtr

        spread = max(float(np.hypot(self.strictness, self.noise)), 1e-9)
        steps = np.arange(LOW + 1, HIGH + 1)
        return LOW + ndtr((np.asarray(appeal)[..., None] - steps + 0.5) / spread).sum(axis=-1)

    def draw_strictness(self, n_raters: int, random: np.random.Generator) -> FusedArray:
        """Return the strictness of some people: (n_raters,)."""
        return random.normal(0, self.strictness, n_raters)

    def rate(
        self, appeal: FusedArray, strictness: FusedArray, random: np.random.Generator
    ) -> FusedArray:
        """Return ratings of pictures by people; both arrays have one shape."""
        noisy = appeal - strictness + random.normal(0, self.noise, np.shape(appeal))
        return np.clip(np.round(noisy), LOW, HIGH)


def measure_fit(article: Scene, picture: Scene) -> float:
    """Return how well a picture's scene fits that of an article, in [0, 1]."""
    same = sum(
        share for name, share in FACTORS.items() if getattr(article, name) == getattr(picture, name)
    )
    if article.subject != picture.subject:
        return OTHER_SUBJECT * same
    return SUBJECT_SHARE + same


def measure_appeal(article: Scene, picture: Scene) -> float:
    """Return the appeal of a picture for an article; see the module."""
    fit = measure_fit(article, picture)
    penalty = CLICKBAIT * picture.clickbait + WATERMARK * picture.watermark
    return 1 + 4 * (0.75 * fit + 0.25 * picture.image_quality) - penalty


def read_scenes(folder: Path) -> dict[str, Scene]:
    """Return the scene of each picture of a newsroom, by image id.

    Raises:
        FileNotFoundError: If it is not the folder of a newsroom.
    """
    path = folder / "scenes.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no sample newsroom: simulated raters know no other")
    return {row["image_id"]: scene_from_row(row) for row in read_table(path)}
