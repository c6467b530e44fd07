"""Picture towers in 8-bit integers against the same models in float32."""

import json
import pickle
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_backbones import TEXTS, make_backbone
from test_backbones import mark as mark
from test_backbones import model_of as model_of
from test_backbones import pictures as pictures

from newsimg.datatypes import Image
from newsimg.storage.models.fit import ModelError


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEWSIMG_CACHE", str(tmp_path))
    return tmp_path / "quantized"


@pytest.fixture(scope="module")
def exported(
    model_of: Any, pictures: list[Image], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    """A cache that has the export of the tiny CLIP, and the embeddings by it."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEWSIMG_CACHE", str(folder))
        quantized = make_backbone("clip", model_of("clip"), quantize="int8")
        return folder / "quantized", quantized.embed_images(pictures)


def find_one(folder: Path, name: str) -> Path:
    (path,) = folder.glob(f"*/{name}")
    return path


@pytest.mark.parametrize("family", ["clip", "siglip", "siglip2", "blip", "jina"])
def test_pictures_embedded_in_integers_are_close_to_float32_and_texts_are_the_same(
    family: str, model_of: Any, pictures: list[Image], cache_dir: Path
) -> None:
    import onnx

    exact = make_backbone(family, model_of(family))
    quantized = make_backbone(family, model_of(family), quantize="int8")
    expected, found = exact.embed_images(pictures), quantized.embed_images(pictures)
    assert (expected * found).sum(axis=1).min() > 0.99
    assert np.abs(expected - found).max() > 1e-5  # it is not the model in float32
    np.testing.assert_array_equal(quantized.embed_texts(TEXTS), exact.embed_texts(TEXTS))
    graph = onnx.load(find_one(cache_dir, "pictures.onnx")).graph
    kinds = {node.op_type for node in graph.node}
    assert "MatMulInteger" in kinds
    assert "Gemm" not in kinds
    weights = [own for own in graph.initializer if own.name.endswith("_quantized")]
    assert weights
    for own in weights:
        values = onnx.numpy_helper.to_array(own)
        assert values.dtype == np.int8
        assert np.abs(values.astype(int)).max() <= 64  # 7 bits: sums of products do not overflow


def test_an_embedding_does_not_depend_on_the_other_pictures_of_its_batch(
    model_of: Any, pictures: list[Image], exported: tuple[Path, Any], cache_dir: Path
) -> None:
    shutil.copytree(exported[0], cache_dir)
    quantized = make_backbone("clip", model_of("clip"), quantize="int8")
    alone = [quantized.embed_images([picture])[0] for picture in pictures]
    np.testing.assert_array_equal(quantized.embed_images(pictures), alone)
    np.testing.assert_array_equal(quantized.embed_images(pictures[::-1]), alone[::-1])


def test_a_model_is_exported_once_and_then_opened_without_loading_the_original(
    model_of: Any, pictures: list[Image], cache_dir: Path
) -> None:
    first = make_backbone("clip", model_of("clip"), quantize="int8")
    expected = first.embed_images(pictures)
    written = find_one(cache_dir, "pictures.onnx").stat().st_mtime_ns
    again = pickle.loads(pickle.dumps(make_backbone("clip", model_of("clip"), quantize="int8")))
    np.testing.assert_array_equal(again.embed_images(pictures), expected)
    assert "model" not in vars(again)
    assert find_one(cache_dir, "pictures.onnx").stat().st_mtime_ns == written
    assert not [path for path in cache_dir.glob("*/*") if "float32" in path.name]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["cut off", "other bytes", "incomplete", "no record's JSON"])
def test_an_export_that_is_damaged_or_incomplete_is_made_again(
    fault: str,
    model_of: Any,
    pictures: list[Image],
    exported: tuple[Path, Any],
    cache_dir: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, expected = exported
    shutil.copytree(folder, cache_dir)
    path, record = (find_one(cache_dir, f"pictures.{ending}") for ending in ("onnx", "json"))
    content = path.read_bytes()
    if fault == "cut off":
        path.write_bytes(content[:1000])
    elif fault == "other bytes":
        path.write_bytes(content[:-1000] + bytes(1000))
    elif fault == "incomplete":
        record.unlink()
    else:
        record.write_text(record.read_text()[:40])
    again = make_backbone("clip", model_of("clip"), quantize="int8").embed_images(pictures)
    np.testing.assert_array_equal(again, expected)
    assert path.stat().st_size == len(content)
    assert ("the model is exported again" in caplog.text) == (fault != "incomplete")


@pytest.mark.slow
def test_another_model_has_another_export(
    model_of: Any, pictures: list[Image], exported: tuple[Path, Any], cache_dir: Path
) -> None:
    shutil.copytree(exported[0], cache_dir)
    make_backbone("siglip", model_of("siglip"), quantize="int8").embed_images(pictures)
    identities = [
        json.loads(path.read_text())["identity"] for path in cache_dir.glob("*/pictures.json")
    ]
    assert len({identity["model"] for identity in identities}) == 2
    assert all(identity["torch"] == version("torch") for identity in identities)


def test_the_fingerprint_names_the_arithmetic_and_the_libraries(model_of: Any) -> None:
    exact = make_backbone("clip", model_of("clip"))
    quantized = make_backbone("clip", model_of("clip"), quantize="int8")
    assert "quantize" not in json.loads(exact.fingerprint)
    recorded = json.loads(quantized.fingerprint)["quantize"]
    assert "int8 per channel" in recorded["recipe"]
    assert {"onnxruntime", "torch", "transformers"} < set(recorded)
    assert quantized.description["quantize"] == "int8"


def test_a_model_that_takes_more_than_pixels_is_refused_in_a_sentence(
    model_of: Any, pictures: list[Image]
) -> None:
    naflex = make_backbone("siglip2_naflex", model_of("siglip2_naflex"), quantize="int8")
    with pytest.raises(ModelError, match=r"takes pixel_values alone, .* takes .*spatial_shapes"):
        naflex.embed_images(pictures)


def test_a_model_of_convolutions_alone_is_refused_in_a_sentence(
    model_of: Any, pictures: list[Image], cache_dir: Path
) -> None:
    align = make_backbone("align", model_of("align"), quantize="int8")
    with pytest.raises(ModelError, match=r"has no matrix products .*add backbone.quantize=null"):
        align.embed_images(pictures)
    assert not list(cache_dir.glob("*/pictures.*"))


def test_a_model_that_cannot_be_exported_is_refused_in_a_sentence(
    model_of: Any, pictures: list[Image], cache_dir: Path
) -> None:
    quantized = make_backbone("clip", model_of("clip"), quantize="int8")

    class Unusual(type(quantized)):  # type: ignore[misc]
        def image_features(self, inputs: Any) -> Any:
            features = super().image_features(inputs)
            # A branch on values is no graph.
            return features if inputs["pixel_values"].sum() > 0 else -features

    quantized.__class__ = Unusual
    with pytest.raises(ModelError, match=r"cannot be exported .*add backbone.quantize=null"):
        quantized.embed_images(pictures)
    assert not list(cache_dir.glob("*/pictures.*"))


def test_a_picture_that_changes_too_much_is_an_error(
    model_of: Any, pictures: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("newsimg.backbone.quantized.SMALLEST_COSINE", 1.1)
    quantized = make_backbone("clip", model_of("clip"), quantize="int8")
    with pytest.raises(ModelError, match=r"the first picture has cosine 0\.99\d to float32"):
        quantized.embed_images(pictures)


def test_options_that_do_not_go_together_and_a_missing_extra_are_named(
    model_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model_of("clip")
    with pytest.raises(ValueError, match=r"backbone.quantize must be .*int8.*got 'int4'"):
        make_backbone("clip", folder, quantize="int4")
    with pytest.raises(
        ValueError, match=r"needs backbone.dtype=float32 .*got backbone.dtype=bfloa"
    ):
        make_backbone("clip", folder, quantize="int8", dtype="bfloat16")
    with pytest.raises(ValueError, match=r"float32 on a CPU, got .* backbone.device=cuda"):
        make_backbone("clip", folder, quantize="int8", device="cuda")

    def find_version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("newsimg.backbone.quantized.version", find_version)
    with pytest.raises(ImportError, match=r"pip install newsimg\[onnx\]"):
        _ = make_backbone("clip", folder, quantize="int8").fingerprint
