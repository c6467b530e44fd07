"""Sizes of batches, memory that runs out, GPUs that fail, and compiled towers."""

import json
import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from newsimg.backbone.compiled import pad_rows
from newsimg.backbone.forward import ForwardBatches
from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.datatypes import Image
from newsimg.storage.models.batches import ModelMemoryError
from newsimg.storage.models.fit import ModelError


def collect(
    batches: ForwardBatches, n_items: int, size: int, largest: int
) -> tuple[list[int], Any]:
    """Embed numbers on a device whose memory holds `largest` of them."""
    tried = []

    def encode(items: Sequence[int], full: int) -> torch.Tensor:
        tried.append(len(items))
        if len(items) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return torch.tensor(items)[:, None]

    started = batches.start(range(n_items), size, encode)
    return tried, np.concatenate([rows.wait() for rows in started])[:, 0]


def test_memory_that_runs_out_halves_the_batches_once_and_for_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    batches = ForwardBatches("backbone", "auto")
    tried, rows = collect(batches, 70, 64, largest=20)
    assert rows.tolist() == list(range(70))
    assert tried == [64, 32, 16, 16, 16, 16, 6]
    assert caplog.messages == [
        "memory ran out with a batch of 64: batches are halved until they fit; "
        "backbone.batch_size=32 avoids the failed attempt"
    ]
    tried, _ = collect(batches, 40, 64, largest=20)  # kept
    assert tried == [16, 16, 8]
    assert len(caplog.messages) == 1


def test_memory_that_a_single_item_exceeds_is_an_error_that_names_what_needs_less() -> None:
    with pytest.raises(ModelMemoryError, match=r"single item: a smaller backbone.model or .*CUDA"):
        collect(ForwardBatches("backbone", 4), 8, 4, largest=0)


def test_another_error_is_raised_as_it_is_and_that_of_a_gpu_names_it() -> None:
    def fail(message: str) -> None:
        def encode(items: Sequence[int], full: int) -> torch.Tensor:
            raise RuntimeError(message)

        ForwardBatches("backbone", 4).start([1], 4, encode)

    with pytest.raises(RuntimeError, match=r"^sizes differ$"):
        fail("sizes differ")
    with pytest.raises(
        ModelError, match=r"the GPU.* failed \(CUDA error: unspecified .*cached: run"
    ):
        fail("CUDA error: unspecified launch failure\nCompile with `TORCH_USE_CUDA_DSA`")


def test_auto_depends_on_the_device_and_a_number_does_not_ask_for_it() -> None:
    assert ForwardBatches("backbone", "auto").choose(lambda: "cpu") == 32
    assert ForwardBatches("backbone", "auto").choose(lambda: "cuda:1") == 256

    def fail() -> str:
        raise AssertionError

    assert ForwardBatches("backbone", 7).choose(fail) == 7


def test_padding_repeats_the_last_row() -> None:
    padded = pad_rows({"a": torch.tensor([[1, 2], [3, 4]]), "b": torch.tensor([5, 6])}, 4)
    assert padded["a"].tolist() == [[1, 2], [3, 4], [3, 4], [3, 4]]
    assert padded["b"].tolist() == [5, 6, 6, 6]
    assert pad_rows(padded, 4)["b"].tolist() == [5, 6, 6, 6]


def make_clip(tiny_clip: Path, **changes: Any) -> TransformersBackbone:
    settings: dict[str, Any] = {"revision": "main", "dtype": "float32", "device": "cpu"}
    settings |= {"batch_size": 4, "text_padding": "longest", "text_length": 48}
    return TransformersBackbone(
        model=str(tiny_clip), query_template="{title}", **settings | changes
    )


def test_attention_is_that_of_torch(tiny_clip: Path) -> None:
    model = make_clip(tiny_clip).model
    assert model.config._attn_implementation == "sdpa"
    assert model.vision_model.config._attn_implementation == "sdpa"


def test_compile_is_in_the_fingerprint_and_excludes_int8(tiny_clip: Path) -> None:
    plain, compiled = make_clip(tiny_clip), make_clip(tiny_clip, compile=True)
    assert json.loads(compiled.fingerprint)["compile"] == {"torch": torch.__version__}
    assert "compile" not in json.loads(plain.fingerprint)
    with pytest.raises(ValueError, match=r"compile=true and backbone.quantize=int8 exclude each"):
        make_clip(tiny_clip, compile=True, quantize="int8")


@pytest.mark.slow
def test_a_compiled_tower_is_compiled_once_for_all_numbers_of_pictures(
    tiny_clip: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All of torch's compiler but the generation of code, which takes half a minute on a CPU.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    caplog.set_level("INFO")
    images = []
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        PILImage.fromarray(pixels).save(tmp_path / f"{number}.png")
        images.append(Image(str(number), tmp_path / f"{number}.png"))
    compiled = make_clip(tiny_clip, compile=True)
    expected = make_clip(tiny_clip).embed_images(images)
    np.testing.assert_allclose(compiled.embed_images(images), expected, atol=1e-5)
    np.testing.assert_allclose(compiled.embed_images(images[:3]), expected[:3], atol=1e-5)
    (line,) = [one for one in caplog.messages if one.startswith("compiled  ")]
    assert line.startswith(f"compiled       {tiny_clip} for batches of 4 in ")
    assert pickle.loads(pickle.dumps(compiled)).fingerprint == compiled.fingerprint
