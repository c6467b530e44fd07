"""Pictures embedded per second on a GPU: the whole way from files, and the model alone.

    python tests/bench/bench_gpu.py [--pictures 768] [--workers 4 16] [--models ViT-B/32 ViT-L/14]

Models have the shapes of CLIP ViT-B/32 and ViT-L/14 and random weights, in bfloat16; pictures are
JPEGs of 500x375, some for each worker. Each method runs once after a warm-up of the model;
`pictures/s` includes the start of processes, which `first` shows; `later` is the speed after the
first batch, when processes have read up to two batches each ahead. Threads embed a sixth of the
pictures. Without a GPU a tiny model and few pictures
show that all of it runs. `forward alone` has its pictures on the device. The ceiling of the second
table is that of a large matrix product, scaled to the tower's floating-point operations.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from bench_embed import RULES, save_photograph
from bench_stream import PlainDataset
from torch.utils.data import DataLoader
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.datatypes import Image
from newsimg.engine.listing import Listing, write_listing
from newsimg.engine.local import LocalEngine
from newsimg.reporting.console import print_table
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPE = torch.bfloat16 if DEVICE == "cuda" else torch.float32
# Width, layers, patch and side of the picture tower.
SHAPES = {"ViT-B/32": (768, 12, 32, 224), "ViT-L/14": (1024, 24, 14, 224)}
TINY = {"tiny/32": (64, 2, 32, 224)}
ROUNDS = 7
N_FILES = 512  # distinct files, listed again and again


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    on_gpu = DEVICE == "cuda"
    shapes = SHAPES if on_gpu else TINY
    parser.add_argument("--pictures", type=int, default=1024 if on_gpu else 32, help="per worker")
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 16] if on_gpu else [2])
    parser.add_argument("--models", nargs="+", default=list(shapes), choices=list(shapes))
    parser.add_argument("--batch", type=int, default=256 if on_gpu else 16)
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if on_gpu else "CPU, not a measurement"
    cores = len(os.sched_getaffinity(0))
    with TemporaryDirectory() as folder:
        n_files = min(N_FILES, options.pictures * max(options.workers))
        files = [save_photograph(Path(folder), (500, 375), i) for i in range(n_files)]
        tables = [measure_model(model, shapes[model], files, options) for model in options.models]
    title = f"{name}, {cores} cores, {DTYPE}, batches of {options.batch}"
    print_table(pd.DataFrame([row for table in tables for row in table]), title)
    ceilings = [measure_ceiling(model, shapes[model], options.batch) for model in options.models]
    print_table(pd.DataFrame(ceilings), f"{name}, forward alone, medians of {ROUNDS}")


def measure_model(
    model: str, shape: tuple[int, int, int, int], files: list[Image], options: argparse.Namespace
) -> list[dict[str, str]]:
    """Return the rows of a model: every method once, after the model is warm."""
    rows, reference = [], np.empty(0)
    with TemporaryDirectory() as name:
        folder = Path(name)
        save_clip(folder / "model", shape)
        backbone = make_backbone(folder / "model", options.batch)
        # Bytes after the end of a JPEG make each picture another one, so that none is cached.
        images = [
            copy_picture(folder, files, i) for i in range(options.pictures * max(options.workers))
        ]
        forward = measure_forward(backbone, files, options.batch)
        on_device = None
        if DEVICE == "cuda" and find_spec("torchvision"):
            on_device = make_backbone(folder / "model", options.batch, decoding="gpu")
            on_device.embed_images(files[:16])
        methods: dict[str, Callable[[], Iterator[np.ndarray]]] = {}
        for n in options.workers:
            own = images[: n * options.pictures]
            listing = write_listing(own, folder / f"{n}.arrow", 2 * options.batch)
            few = write_listing(own[: len(own) // 6], folder / f"{n}_few.arrow", 2 * options.batch)
            methods[f"newsimg, {n} threads"] = lambda n=n, own=few: stream(own, backbone, 0, n)  # type: ignore[misc]
            methods[f"newsimg, {n} processes"] = lambda n=n, own=listing: stream(
                own, backbone, n, 1
            )  # type: ignore[misc]
            methods[f"DataLoader, {n} processes"] = lambda n=n, own=own: plain(
                own, backbone, options, n
            )  # type: ignore[misc]
            if on_device is not None:
                methods[f"decoding=gpu, {n} threads"] = lambda n=n, own=few: stream(
                    own, on_device, 0, n
                )  # type: ignore[misc]
                methods[f"decoding=gpu, {n} processes"] = lambda n=n, own=listing: stream(
                    own, on_device, n, 1
                )  # type: ignore[misc]
        methods["sentence-transformers"] = lambda: encode(files, folder / "model", options.batch)
        for method, run in methods.items():
            try:
                seconds, first, found = time_stream(run)
            except ImportError as error:
                print(f"{method}: {error}")
                continue
            speed, later = len(found) / seconds, ""
            if len(found) > 2 * options.batch:
                later = f"{(len(found) - options.batch) / (seconds - first):.0f}"
            print(f"{model}, {method}: {speed:.0f}/s", flush=True)
            reference = found if not len(reference) else reference
            n_same = min(len(found), len(reference))
            rows.append(
                {
                    "model": model,
                    "method": method,
                    "pictures/s": f"{speed:.0f}",
                    "later": later,
                    "of the forward": f"{speed / forward:.3f}",
                    "first": f"{first:.1f} s",
                    "smallest cosine": f"{(found[:n_same] * reference[:n_same]).sum(1).min():.5f}",
                }
            )
    return [*rows, {"model": model, "method": "forward alone", "pictures/s": f"{forward:.0f}"}]


def time_stream(run: Callable[[], Iterator[np.ndarray]]) -> tuple[float, float, np.ndarray]:
    """Return the seconds of a run, those until its first embedding, and the embeddings."""
    start = time.perf_counter()
    rows = run()
    found = [next(rows)]
    first = time.perf_counter() - start
    found += rows
    return time.perf_counter() - start, first, np.stack(found)


def stream(
    listing: Listing, backbone: TransformersBackbone, n_workers: int, n_threads: int
) -> Iterator[np.ndarray]:
    """Embed as in `task=index`, with an empty cache."""
    with TemporaryDirectory() as folder:
        cached = CachedBackbone(backbone, OutputCache(Path(folder)))
        engine = LocalEngine(n_workers=n_workers)
        for one in engine.embed(listing, range(listing.n_chunks), cached, RULES, n_threads):
            yield one.embedding  # type: ignore[union-attr]
        cached.cache.compact()


def plain(
    images: list[Image], backbone: TransformersBackbone, options: argparse.Namespace, n_workers: int
) -> Iterator[np.ndarray]:
    """Embed with torch's DataLoader around the library's processor."""
    dataset: Any = PlainDataset([image.path for image in images])
    settings = {"batch_size": options.batch, "pin_memory": DEVICE == "cuda"}
    loader: Any = DataLoader(dataset, num_workers=n_workers, **settings)
    with torch.inference_mode():
        for pixels in loader:
            moved = pixels.to(DEVICE, DTYPE, non_blocking=True)
            features = backbone.model.get_image_features(pixel_values=moved).pooler_output
            yield from torch.nn.functional.normalize(features.float(), dim=1).cpu().numpy()


def encode(files: list[Image], model: Path, batch: int) -> Iterator[np.ndarray]:
    """Embed the distinct files with sentence-transformers' `encode`."""
    from PIL import Image as PILImage
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(model), device=DEVICE, model_kwargs={"torch_dtype": DTYPE})
    opened = [PILImage.open(image.path).convert("RGB") for image in files]
    yield from encoder.encode(
        opened,
        batch_size=batch,
        normalize_embeddings=True,
        show_progress_bar=False,
    )


def measure_forward(backbone: TransformersBackbone, files: list[Image], batch: int) -> float:
    """Return pictures per second of the model, whose pictures are on the device."""
    first = backbone.preprocess(files[0])
    backbone.embed_preprocessed([files[0]] * batch, [first] * batch)  # loads the model
    pixels = torch.zeros(batch, 3, 224, 224, device=DEVICE, dtype=DTYPE)
    with torch.inference_mode():
        seconds = [
            measure(lambda: backbone.model.get_image_features(pixel_values=pixels))
            for _ in range(ROUNDS + 2)
        ]
    return batch / statistics.median(seconds[2:])


@torch.inference_mode()
def measure_ceiling(model: str, shape: tuple[int, int, int, int], batch: int) -> dict[str, str]:
    """Compare a picture tower with the matrix products of the device."""
    side = shape[-1]
    size = 8192 if DEVICE == "cuda" else 512
    tower = CLIPModel(make_config(shape)).vision_model.to(DEVICE, DTYPE).eval()
    pixels = torch.randn(batch, 3, side, side, device=DEVICE, dtype=DTYPE)
    square = torch.randn(size, size, device=DEVICE, dtype=DTYPE)
    seconds, products = [], []
    for _ in range(ROUNDS + 2):
        seconds.append(measure(lambda: tower(pixels)))
        products.append(measure(lambda: square @ square))
    speed = batch / statistics.median(seconds[2:])
    ceiling = 2 * size**3 / statistics.median(products[2:]) / count_operations(*shape)
    return {
        "tower": model,
        "pictures/s": f"{speed:.0f}",
        "ceiling": f"{ceiling:.0f}",
        "share": f"{speed / ceiling:.2f}",
    }


def measure(work: Callable[[], object]) -> float:
    """Return the duration of `work` in seconds."""
    start = time.perf_counter()
    work()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def count_operations(dim: int, layers: int, patch: int, side: int) -> float:
    """Return the floating-point operations of the tower's matrix products for one picture."""
    tokens = (side // patch) ** 2 + 1
    layer = 2 * tokens * 12 * dim**2 + 4 * tokens**2 * dim
    return layers * layer + 2 * (tokens - 1) * 3 * patch**2 * dim


def copy_picture(folder: Path, files: list[Image], number: int) -> Image:
    """Save a file with other bytes and the same pixels."""
    path = folder / f"{number:06}.jpg"
    path.write_bytes(files[number % len(files)].path.read_bytes() + number.to_bytes(4))
    return Image(path.stem, path)


def save_clip(folder: Path, shape: tuple[int, int, int, int]) -> None:
    """Save a CLIP with random weights."""
    torch.manual_seed(0)
    CLIPModel(make_config(shape)).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)


def make_config(shape: tuple[int, int, int, int]) -> CLIPConfig:
    """Return the config of a CLIP with a picture tower of some shape."""
    dim, layers, patch, side = shape
    tower = {"hidden_size": dim, "intermediate_size": 4 * dim, "num_hidden_layers": layers}
    tower |= {"num_attention_heads": dim // 64, "patch_size": patch, "image_size": side}
    return CLIPConfig(vision_config=tower)


def make_backbone(model: Path, batch: int, decoding: str = "exact") -> TransformersBackbone:
    """Return a backbone with the model of a folder."""
    return TransformersBackbone(
        model=str(model),
        revision="main",
        dtype=str(DTYPE).removeprefix("torch."),
        device=DEVICE,
        batch_size=batch,
        text_padding="longest",
        text_length=77,
        query_template="{title}",
        decoding=decoding,
    )


if __name__ == "__main__":
    main()
