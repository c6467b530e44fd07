"""Metrics of picture quality of IQA-PyTorch (pyiqa)."""

import io
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from newsimg.datatypes import FloatArray, Image, KeepAnswers, KeepWritten
from newsimg.interfaces import VisionLanguageModel
from newsimg.storage.files import hash_file
from newsimg.storage.models.checkpoints import choose_device
from newsimg.storage.models.fit import ModelError
from newsimg.storage.models.precision import inference
from newsimg.storage.pictures.images import DECODING, open_image
from newsimg.storage.progress import announce
from newsimg.storage.text.suggest import check_choice

log = logging.getLogger(__name__)

QUALITY = "quality"  # the only answer
SEED = 28  # of the crops that some metrics draw
LIBRARIES = ("pyiqa", "torchvision", "timm")
# Without a reference, but of a set of pictures, of pairs, or with a text.
OF_MORE = ("fid", "sfid", "fid_dinov2", "inception_score", "compare2score", "clipscore")


class PyiqaMetric(VisionLanguageModel):
    """A no-reference metric of picture quality or aesthetics; larger is better.

    Chen and Mo (2022), "IQA-PyTorch: PyTorch toolbox for image quality assessment". As a
    vision-language model, so that its scores are cached, it gives the score of a picture as the
    "probability" of the answer "quality", whatever the question; NaN for a picture that the metric
    cannot rate, such as one that is too small. Scores of which smaller is better are negated.

    Args:
        metric: Name of the metric in pyiqa, such as clipiqa+ or musiq.
        weights: File of weights; None for the metric's own, which pyiqa downloads.
        max_side: Width and height to which larger pictures are reduced; None for their own size.
        device: A torch device, or "auto".
        trust_weights: Whether to read weights that can run code, as those of pyiqa can.

    Raises:
        ValueError: If an argument is out of range; names it.
    """

    def __init__(
        self,
        *,
        metric: str,
        weights: str | None,
        max_side: int | None,
        device: str,
        trust_weights: bool,
    ) -> None:
        if max_side is not None and max_side < 32:
            raise ValueError(f"reranker.model.max_side must be at least 32 or null, got {max_side}")
        self.metric = metric
        self.weights = None if weights is None else Path(weights).expanduser()
        self.max_side = max_side
        self.device = device
        self.trust_weights = trust_weights

    @cached_property
    def fingerprint(self) -> str:
        """See `ChatModel.fingerprint`. The version of pyiqa tells which weights it downloads."""
        try:
            libraries = {name: version(name) for name in LIBRARIES}
        except PackageNotFoundError as error:
            raise ImportError("reranker=pyiqa needs: pip install newsimg[pyiqa]") from error
        weights = None if self.weights is None else hash_file(self.weights)
        return json.dumps(
            {
                "class": type(self).__name__,
                "model": self.metric,
                "weights": weights,
                "max_side": self.max_side,
                "seed": SEED,
                "decoding": DECODING,
                "libraries": libraries,
            }
        )

    def ask(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """See `VisionLanguageModel.ask`, and above.

        Raises:
            ValueError: If there are other answers than "quality", or a picture is unreadable.
        """
        if list(answers) != [QUALITY]:
            raise ValueError(f"{self.metric} rates pictures and answers no questions")
        found: list[FloatArray] = []
        for image, texts in zip(images, questions, strict=True):
            found.append(np.full((len(texts), 1), self._rate(image), np.float32))
            if keep:
                keep(len(found) - 1, dict(enumerate(found[-1])))
        return found

    def write(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        keep: KeepWritten | None = None,
        is_answer: Callable[[str], bool] | None = None,
    ) -> list[list[str]]:
        """See `VisionLanguageModel.write`.

        Raises:
            ValueError: Always, as the metric writes no text.
        """
        raise ValueError(f"{self.metric} rates pictures and writes nothing")

    @cached_property
    def model(self) -> Any:
        """The metric, loaded.

        Raises:
            ImportError: If pyiqa is not installed.
            ValueError: If there is no such metric, or it needs more than one picture.
            ModelError: If weights are not trusted, or cannot be loaded.
        """
        _ = self.fingerprint  # checks that the library is installed
        if not self.trust_weights:
            raise ModelError(
                f"pyiqa reads the weights of {self.metric} by pickle, which can run code: add "
                "reranker.model.trust_weights=true if you trust them"
            )
        announce(f"loading {self.metric}")
        own = {} if self.weights is None else {"pretrained_model_path": str(self.weights)}
        with _quiet():
            try:
                import pyiqa
            except Exception as error:  # torchvision of another build raises RuntimeError
                raise ModelError(f"pyiqa cannot be imported: {error!s:.200}") from error
            known = [name for name in pyiqa.list_models("NR") if name not in OF_MORE]
            check_choice("reranker.model.metric", self.metric, known)
            device = choose_device(self.device, "reranker.model.device")
            try:
                return pyiqa.create_metric(self.metric, device=device, **own)
            except Exception as error:  # of many kinds, from a download to a missing key
                reason = " ".join(str(error).split()) or type(error).__name__
                raise ModelError(f"{self.metric} cannot be loaded: {reason:.300}") from error

    def _rate(self, image: Image) -> float:
        import torch

        model = self.model
        picture = open_image(image)
        if self.max_side is not None:
            picture.thumbnail((self.max_side, self.max_side))
        pixels = torch.from_numpy(np.asarray(picture, np.float32).transpose(2, 0, 1) / 255)
        with inference(tf32=False), _seeded(), _quiet():
            try:
                score = float(model(pixels[None]))
            except (RuntimeError, AssertionError, ValueError, IndexError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                log.info("%s: %s cannot rate it: %s", image.image_id, self.metric, error)
                return float("nan")
        return -score if model.lower_better else score


@contextmanager
def _seeded() -> Iterator[None]:
    """Make the crops that a metric draws depend on the picture alone."""
    import torch

    state = np.random.get_state()  # noqa: NPY002 - the generator that pyiqa uses
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        np.random.seed(SEED)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library, which prints what it loads."""
    logging.getLogger("pyiqa").setLevel(logging.ERROR)
    with redirect_stdout(io.StringIO()):
        yield
