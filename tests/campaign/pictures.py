"""Damaged pictures of every format that can be written here, through the embedding stream."""

import hashlib
import io
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mutations import mutate
from PIL import Image as PILImage
from PIL import ImageFilter
from result import Result

from newsimg.datatypes import Accepted, FloatArray, Image
from newsimg.engine.stream import stream_embeddings
from newsimg.engine.validation import check_rules
from newsimg.interfaces import Backbone
from newsimg.storage.pictures.formats import FORMATS
from newsimg.storage.pictures.images import open_image

MAX_SECONDS = 5  # of processor time for a picture
MAX_BYTES = 1 << 30  # of memory beyond that of the start
# Format, options and modes; formats that Pillow cannot write in a mode are left out.
ENCODINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("JPEG", {}),
    ("JPEG", {"progressive": True, "exif": True}),
    ("JPEG2000", {}),
    ("PNG", {}),
    ("PNG", {"exif": True}),
    ("GIF", {}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": True}),
    ("AVIF", {}),
    ("JXL", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "jpeg"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("BMP", {}),
    ("ICO", {}),
    ("ICNS", {}),
    ("PCX", {}),
    ("PPM", {}),
    ("SGI", {}),
    ("TGA", {}),
    ("TGA", {"compression": "tga_rle"}),
    ("DDS", {}),
    ("XBM", {}),
    ("IM", {}),
    ("MSP", {}),
    ("QOI", {}),
    ("DIB", {}),
    ("SPIDER", {}),
)
MODES = ("RGB", "L", "P", "RGBA", "CMYK", "1", "I;16", "F")


class DigestBackbone(Backbone):
    """Embeds the digest of a picture's bytes, and records the time of decoding."""

    query_template = "{title}"
    batch_size = 16
    fingerprint = "digest"

    def __init__(self) -> None:
        self.slow: list[str] = []

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `Backbone.embed_texts`; not used."""
        raise NotImplementedError

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """See `Backbone.embed_images`."""
        return np.stack([embed_digest(str(image.digest)) for image in images])

    def preprocess(self, image: Image) -> Any:
        """Decode the picture at full and at reduced scale."""
        start = time.thread_time()
        try:
            open_image(image, (224, 224))
            return np.asarray(open_image(image)).shape
        finally:
            if time.thread_time() - start > MAX_SECONDS:
                self.slow.append(image.image_id)


def embed_digest(digest: str) -> FloatArray:
    """Return a unit vector that depends on all bytes."""
    row = np.frombuffer(bytes.fromhex(digest), np.uint8).astype(np.float32) + 1
    return (row / np.linalg.norm(row)).astype(np.float32)


def write_seeds(rng: random.Random) -> Iterator[bytes]:
    """Yield an intact file for each encoding and mode that can be written and read."""
    noise = PILImage.effect_noise((67, 45), 90).filter(ImageFilter.GaussianBlur(1))
    base = PILImage.merge("RGB", [noise, noise.rotate(90), noise.rotate(180)])
    exif = PILImage.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "Harbour at night"
    for name, options in ENCODINGS:
        if name not in FORMATS:
            continue
        # libtiff's writer corrupts memory when it is given a palette to compress as JPEG
        for mode in ("RGB", "L") if options.get("compression") == "jpeg" else MODES:
            wanted = {key: value for key, value in options.items() if key != "exif"}
            if "exif" in options:
                wanted["exif"] = exif
            buffer = io.BytesIO()
            try:
                base.convert(mode).save(buffer, name, **wanted)
                PILImage.open(io.BytesIO(buffer.getvalue())).load()
            except Exception:  # each plugin refuses a mode in its own way
                continue
            yield buffer.getvalue()


def write_files(folder: Path, n: int, seed: int) -> list[Path]:
    """Write `n` files, one in twenty of them intact."""
    rng = random.Random(seed)
    seeds = list(write_seeds(rng))
    paths = []
    for i in range(n):
        content = seeds[i % len(seeds)]
        if i % 20:
            content = mutate(content, rng, seeds)
        path = folder / f"{i:06d}.jpg"  # formats are found by content
        path.write_bytes(content)
        paths.append(path)
    return paths


def work(folder: Path) -> None:
    """Embed all files of a folder; print one line per result."""
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    paths = sorted(folder.glob("*.jpg"))
    images = [Image(path.stem, path) for path in paths]
    backbone = DigestBackbone()
    rules = check_rules("reject", 50_000_000, 1)
    for image, result in zip(
        images, stream_embeddings(images, backbone, rules, n_threads=2), strict=True
    ):
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * 1024
        if isinstance(result, Accepted):
            digest = hashlib.sha256(image.path.read_bytes()).hexdigest()
            same = result.image.image_id == image.image_id and result.image.digest == digest
            aligned = same and np.array_equal(result.embedding, embed_digest(digest))
            outcome = "accepted" if aligned else "SHIFTED"
        else:
            named = result.uri == image.uri and bool(result.reason.strip())
            outcome = "rejected" if named else "SHIFTED"
        if image.image_id in backbone.slow:
            outcome = "SLOW"
        if peak > MAX_BYTES:
            outcome = "MEMORY"
        print(image.image_id, outcome, flush=True)


def run(n: int, seed: int, folder: Path) -> Result:
    """Damage `n` pictures and embed them in a process of its own, so that a crash is seen."""
    result = Result("damaged pictures")
    paths = write_files(folder, n, seed)
    done = subprocess.run(
        [sys.executable, __file__, folder], capture_output=True, text=True, timeout=60 + n
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    for name, outcome in lines:
        result.add(outcome, f"{folder}/{name}.jpg: {outcome}" if outcome.isupper() else "")
    if done.returncode or len(lines) != len(paths):
        end = done.stderr.strip().splitlines()[-1:]
        result.add("CRASH", f"after {len(lines)} of {len(paths)}: {done.returncode} {end}")
    return result


if __name__ == "__main__":
    work(Path(sys.argv[1]))
