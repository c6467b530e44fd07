"""Precision of float32 products, and restoring of torch's global settings."""

import json
import threading
from pathlib import Path

import pytest
import torch
from tiny_models import draw_pictures, make_qwen2_vl

import newsimg
from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.datatypes import Image
from newsimg.llm.transformers_llm import TransformersLLM
from newsimg.storage.models.precision import inference
from newsimg.vlm.qwen2_vl import Qwen2VLM

SAMPLE = Path(newsimg.__file__).parent / "sample"
LOCAL = {"revision": "main", "device": "cpu", "batch_size": 4}
EXACT = {"conv": "ieee", "rnn": "ieee", "matmul": "ieee", "cpu": "ieee", "legacy": (False, False)}
ROUNDED = {"conv": "tf32", "rnn": "tf32", "matmul": "tf32", "cpu": "ieee", "legacy": (True, True)}


def read_settings():
    backends = torch.backends
    return {
        "conv": backends.cudnn.conv.fp32_precision,
        "rnn": backends.cudnn.rnn.fp32_precision,
        "matmul": backends.cuda.matmul.fp32_precision,
        "cpu": backends.mkldnn.matmul.fp32_precision,
        # Legacy settings; torch raises an error if they disagree with the new ones.
        "legacy": (backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32),
    }


def embed(dtype, tmp_path):
    backbone = TransformersBackbone(
        **LOCAL,
        dtype=dtype,
        model=str(SAMPLE / "clip"),
        text_padding="longest",
        text_length=48,
        query_template="{title}",
    )
    image = Image("0", draw_pictures(tmp_path / "pictures", [(60, 60)])[0])
    return backbone, lambda: (backbone.embed_texts(["Storm"]), backbone.embed_images([image]))


def write(dtype, tmp_path):
    llm = TransformersLLM(
        **LOCAL,
        dtype=dtype,
        model=str(SAMPLE / "llm"),
        max_new_tokens=2,
        temperature=1.0,
        top_p=1.0,
    )
    return llm, lambda: llm.generate([[{"role": "user", "content": "Storm"}]], None)


def judge(dtype, tmp_path):
    vlm = Qwen2VLM(
        **LOCAL,
        dtype=dtype,
        model=make_qwen2_vl(tmp_path / "qwen"),
        share_prefix=True,
        answer_prefix="",
        max_new_tokens=2,
    )
    image = Image("0", draw_pictures(tmp_path / "pictures", [(60, 60)])[0])

    def ask():
        vlm.ask([image], [["Fit?"]], ["1", "2"])
        vlm.write([image], [["Fit?"]])

    return vlm, ask


@pytest.mark.parametrize("make", [embed, write, judge])
@pytest.mark.parametrize(("dtype", "expected"), [("float32", EXACT), ("tf32", ROUNDED)])
def test_every_forward_pass_uses_the_precision_of_its_dtype_and_restores_the_settings(
    make, dtype, expected, tmp_path
):
    before = read_settings()
    assert before["conv"] == "tf32"  # torch's default, which must be overridden
    model, use = make(dtype, tmp_path)
    seen = []
    for module in model.model.modules():
        module.register_forward_pre_hook(lambda *_: seen.append(read_settings()))
    use()
    assert len(seen) > 10
    assert all(settings == expected for settings in seen)
    assert model.model.dtype == torch.float32
    assert read_settings() == before


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("convolutions", [False, True])
def test_previous_settings_are_restored_even_after_an_error(precision, convolutions, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", convolutions)
    torch.set_float32_matmul_precision(precision)
    before = read_settings()

    def fail():
        with inference(tf32=False):
            assert read_settings() == EXACT
            assert torch.is_inference_mode_enabled()
            raise KeyError

    try:
        with pytest.raises(KeyError):
            fail()
        assert read_settings() == before
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision("highest")


def test_contradictory_settings_are_overridden_and_restored():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    try:
        cudnn.rnn.fp32_precision, matmul.fp32_precision = "ieee", "tf32"
        with pytest.raises(RuntimeError, match="mix of the legacy and new"):
            read_settings()
        with inference(tf32=False):
            assert read_settings() == EXACT
        assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == ("tf32", "ieee")
        assert matmul.fp32_precision == "tf32"
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = True, False


def test_threads_with_different_settings_wait_for_each_other():
    before = read_settings()
    wrong = []

    def work(tf32):
        for _ in range(50):
            with inference(tf32):
                torch.ones(8, 8) @ torch.ones(8, 8)
                if read_settings() != (ROUNDED if tf32 else EXACT):
                    wrong.append(tf32)

    threads = [threading.Thread(target=work, args=[i % 2 == 0]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert read_settings() == before


@pytest.mark.parametrize("make", [embed, write, judge])
def test_the_precision_is_part_of_the_fingerprint(make, tmp_path):
    exact, rounded, half = (
        json.loads(make(dtype, tmp_path / dtype)[0].fingerprint)
        for dtype in ("float32", "tf32", "bfloat16")
    )
    assert (exact["dtype"], exact["tf32"]) == ("float32", False)
    assert (rounded["dtype"], rounded["tf32"]) == ("float32", True)
    assert half["dtype"] == "bfloat16"
    assert "tf32" not in half
