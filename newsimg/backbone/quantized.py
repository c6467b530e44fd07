"""Picture towers in 8-bit integers, which ONNX Runtime runs on a CPU."""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from newsimg.datatypes import FloatArray
from newsimg.storage.files import (
    hash_file,
    read_checked_json,
    user_cache_dir,
    write_atomically,
    write_checked_json,
)
from newsimg.storage.models.fit import ModelError
from newsimg.storage.progress import announce
from newsimg.storage.text.suggest import check_choice

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

METHODS = ("int8",)
# Each picture is run alone, so that its scales do not depend on others.
RECIPE = "weights int8 per channel, reduced range; activations uint8 by picture"
LIBRARIES = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript")
SMALLEST_COSINE = 0.95  # to the model in float32, below which a quantised model is not used


def check_quantize(quantize: str | None, dtype: str, device: str, compile: bool) -> None:
    """Check a backbone's `quantize` and the arguments that it excludes.

    Raises:
        ValueError: If one is invalid.
    """
    if quantize is None:
        return
    check_choice("backbone.quantize", quantize, METHODS)
    if dtype != "float32" or device not in ("auto", "cpu"):
        raise ValueError(
            f"backbone.quantize={quantize} needs backbone.dtype=float32 on a CPU, "
            f"got backbone.dtype={dtype} and backbone.device={device}"
        )
    if compile:
        raise ValueError(
            f"backbone.compile=true and backbone.quantize={quantize} exclude each other"
        )


def describe_quantization() -> dict[str, str]:
    """Return what the outputs of a quantised model depend on besides the model, for fingerprints.

    Raises:
        ImportError: If the extra `onnx` is not installed.
    """
    try:
        return {"recipe": RECIPE} | {name: version(name) for name in LIBRARIES}
    except PackageNotFoundError as error:
        raise ImportError("backbone.quantize=int8 needs: pip install newsimg[onnx]") from error


class QuantizedTower:
    """A picture tower that is exported once into the cache and run by ONNX Runtime.

    Matrix products use 8-bit integers: weights are quantised per output channel to 7 bits, so that
    sums do not overflow without VNNI, activations by a scale of each picture (dynamic
    quantisation). Pictures are run one by one, each in one thread.

    Args:
        name: Name of the model, for messages.
        identity: What the exported model depends on.
        load: Returns the model, whose weights are exported, in float32 on a CPU.
        features: Returns the embeddings for the arguments of `forward`, not normalised.
    """

    def __init__(
        self,
        name: str,
        identity: Mapping[str, Any],
        load: Callable[[], Any],
        features: Callable[[Mapping[str, "torch.Tensor"]], "torch.Tensor"],
    ) -> None:
        self.name = name
        self.identity = dict(identity)
        self.load = load
        self.features = features
        self._session: Any = None

    def __call__(self, inputs: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Return the embeddings of preprocessed pictures, (n_images, dim), not normalised.

        Raises:
            ModelError: If the model cannot be exported, or differs too much from its original.
        """
        import torch

        if set(inputs) != {"pixel_values"}:
            raise ModelError(
                f"backbone.quantize=int8 needs a model that takes pixel_values alone, "
                f"{self.name} takes {', '.join(sorted(inputs))}: add backbone.quantize=null"
            )
        pixels = inputs["pixel_values"].to("cpu", torch.float32)
        if self._session is None:
            self._session = open_session(self._find(pixels[:1]))
        session = self._session
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            rows = list(
                pool.map(lambda row: run_session(session, row), pixels.numpy()[:, np.newaxis])
            )
        return torch.from_numpy(np.concatenate(rows))

    @cached_property
    def folder(self) -> Path:
        """Folder of the exported model, of which there is one for each identity."""
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()
        return user_cache_dir() / "quantized" / digest[:24]

    def _find(self, pixels: "torch.Tensor") -> Path:
        """Return the path of the exported model; export it if it is missing or damaged."""
        path, record = self.folder / "pictures.onnx", self.folder / "pictures.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):  # another process may be exporting the same model
            if record.is_file():
                try:
                    kept = read_checked_json(record)
                    if kept["identity"] == self.identity and kept["file_sha256"] == hash_file(path):
                        return path
                    reason = f"{path} differs from what was exported"
                except (ValueError, OSError) as error:
                    reason = str(error)
                log.warning("%s: the model is exported again", reason)
            record.unlink(missing_ok=True)  # written last, it says that the model is complete
            with write_atomically(path) as temporary:
                self._export(pixels, temporary)
                sha256 = hash_file(temporary)
            write_checked_json(record, {"identity": self.identity, "file_sha256": sha256})
        return path

    def _export(self, pixels: "torch.Tensor", path: Path) -> None:
        import onnx
        import torch
        from onnxruntime.quantization import QuantType, quantize_dynamic

        announce(f"quantising {self.name}")
        tower = make_tower(self.load(), self.features)
        with TemporaryDirectory(dir=path.parent) as folder, quiet(), torch.inference_mode():
            exported = Path(folder) / "float32.onnx"
            try:
                torch.onnx.export(
                    tower,
                    (pixels,),
                    exported,
                    dynamo=True,
                    external_data=True,  # a file of the format is limited to 2 GB
                    input_names=["pixel_values"],
                    verbose=False,
                )
                quantize_dynamic(
                    exported,
                    path,
                    op_types_to_quantize=["MatMul", "Gemm"],
                    per_channel=True,
                    reduce_range=True,
                    weight_type=QuantType.QInt8,
                )
                graph = onnx.load(path, load_external_data=False).graph
            except Exception as error:  # of many kinds, from the exporter's passes
                reason = " ".join(str(error).split())
                raise ModelError(
                    f"{self.name} cannot be exported for backbone.quantize=int8, add "
                    f"backbone.quantize=null: {reason:.200}"
                ) from error
            expected = tower(pixels).numpy()
        if not any(node.op_type == "MatMulInteger" for node in graph.node):
            raise ModelError(
                f"the picture tower of {self.name} has no matrix products that "
                "backbone.quantize=int8 computes faster: add backbone.quantize=null"
            )
        found = run_session(open_session(path), pixels.numpy())
        cosine = float((found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected))
        if not cosine >= SMALLEST_COSINE:
            raise ModelError(
                f"{self.name} loses too much with backbone.quantize=int8: the embedding of the "
                f"first picture has cosine {cosine:.3f} to float32; add backbone.quantize=null"
            )
        log.info("int8           cosine %.5f to float32 on the first picture", cosine)


def make_tower(
    model: Any, features: Callable[[Mapping[str, "torch.Tensor"]], "torch.Tensor"]
) -> Any:
    """Return a module with the weights of a model that maps pixels to embeddings."""
    import torch

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: "torch.Tensor") -> "torch.Tensor":
            return features({"pixel_values": pixel_values})

    return Tower().eval()


def open_session(path: Path) -> Any:
    """Return a session that runs a model in the thread that calls it."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_session(session: Any, pixels: FloatArray) -> FloatArray:
    """Return the embedding of one picture, (1, dim)."""
    found: FloatArray = session.run(None, {"pixel_values": pixels})[0]
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter, which warns of packages that are not needed."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
