"""Adapters of vision-language models against peft, and against their weights added by hand."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file
from tiny_models import draw_pictures, make_qwen2_vl, make_qwen3_vl

from newsimg.datatypes import Candidates, Image, Query
from newsimg.reranker.vlm_reranker import VLMReranker
from newsimg.storage.models.fit import ModelError
from newsimg.vlm.qwen2_vl import Qwen2VLM

pytest.importorskip("peft", reason="needs the extra peft")

QUESTION = "Is it relevant? The query is: {title}"
QUERIES = [Query("1", "Storm hits the harbour"), Query("2", "A cow on a meadow")]
ROWS = np.array([[0, 1], [1, 0]])
RANK, ALPHA = 4, 8


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    paths = draw_pictures(tmp_path_factory.mktemp("pictures"), [(120, 60), (60, 150)])
    scores = np.zeros(ROWS.shape, np.float32)
    images = tuple(Image(str(i), path) for i, path in enumerate(paths))
    return Candidates(images, ROWS, scores, {"retrieval": scores})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_qwen2_vl(tmp_path_factory.mktemp("model") / "qwen")


def save_adapter(model: str, folder: Path) -> str:
    """Save a LoRA of random weights of the text layers."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=r".*(model).*(q_proj|down_proj).*$"
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        adapted = get_peft_model(AutoModelForImageTextToText.from_pretrained(model), config)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    adapted.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def adapter(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_adapter(model, tmp_path_factory.mktemp("adapter") / "lora")


def make_vlm(model: str, adapter: str | None, **changes: Any) -> Qwen2VLM:
    settings = {"revision": "main", "dtype": "float32", "device": "cpu", "batch_size": 4}
    settings |= {"share_prefix": True, "answer_prefix": "", "max_new_tokens": 4}
    return Qwen2VLM(model=model, adapter=adapter, **settings | changes)


def score(vlm: Qwen2VLM, candidates: Candidates) -> Any:
    reranker = VLMReranker(vlm=vlm, question=QUESTION, positive="1", negative="2")
    return reranker.score(QUERIES, candidates).values


def score_by_hand(model: Any, vlm: Qwen2VLM, candidates: Candidates) -> Any:
    """Score with a model that is run on whole prompts, one at a time."""
    expected = np.empty(ROWS.shape)
    tokenize = vlm.prompts.tokenize
    ids = [tokenize(answer)[0] for answer in "12"]
    for i, query in enumerate(QUERIES):
        for j, row in enumerate(ROWS[i]):
            picture, inputs = vlm.encode(PILImage.open(candidates.images[row].path))
            asked = QUESTION.replace("{title}", query.title)
            after = f"<|vision_end|>{asked}<|im_end|>\n<|im_start|>assistant\n"
            before = tokenize("<|im_start|>user\n<|vision_start|>")
            tokens = torch.tensor([[*before, *picture, *tokenize(after)]])
            with torch.no_grad():
                output = model(input_ids=tokens, **vlm.mark_tokens(tokens), **inputs)
            yes, no = output.logits[0, -1].softmax(-1)[ids]
            expected[i, j] = yes / (yes + no)
    return expected


def test_scores_are_those_of_transformers_and_peft(
    model: str, adapter: str, candidates: Candidates
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    vlm, plain = make_vlm(model, adapter), make_vlm(model, None)
    base = AutoModelForImageTextToText.from_pretrained(model)
    expected = score_by_hand(PeftModel.from_pretrained(base, adapter).eval(), plain, candidates)
    found = score(vlm, candidates)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - score(plain, candidates)).max() > 0.01


def test_scores_are_those_of_the_weights_added_by_hand(
    model: str, adapter: str, candidates: Candidates
) -> None:
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(model).eval()
    weights = load_file(Path(adapter, "adapter_model.safetensors"))
    names = [name.removesuffix(".lora_A.weight") for name in weights if "lora_A" in name]
    assert len(names) == 4  # two projections in each of two layers
    for name in names:
        down, up = weights[f"{name}.lora_A.weight"], weights[f"{name}.lora_B.weight"]
        changed = base.get_submodule(name.removeprefix("base_model.model.")).weight
        changed.data += up @ down * (ALPHA / RANK)
    expected = score_by_hand(base, make_vlm(model, None), candidates)
    np.testing.assert_allclose(score(make_vlm(model, adapter), candidates), expected, atol=1e-6)


def test_an_adapter_with_the_names_of_an_older_transformers_is_the_same(
    model: str, adapter: str, candidates: Candidates, tmp_path: Path
) -> None:
    """Published adapters of Qwen2-VL name the text layers model.layers."""
    older = shutil.copytree(adapter, tmp_path / "older")
    path = older / "adapter_model.safetensors"
    weights = load_file(path)
    renamed = {name.replace("language_model.", ""): value for name, value in weights.items()}
    assert renamed.keys().isdisjoint(weights.keys())
    save_file(renamed, path)
    found = score(make_vlm(model, str(older)), candidates)
    np.testing.assert_allclose(found, score(make_vlm(model, adapter), candidates), atol=1e-6)


def test_bfloat16_is_near_float32(model: str, adapter: str, candidates: Candidates) -> None:
    half = score(make_vlm(model, adapter, dtype="bfloat16"), candidates)
    np.testing.assert_allclose(half, score(make_vlm(model, adapter), candidates), atol=0.05)


def test_the_fingerprint_depends_on_the_adapters_files(
    model: str, adapter: str, tmp_path: Path
) -> None:
    plain, reference = make_vlm(model, None).fingerprint, make_vlm(model, adapter).fingerprint
    assert make_vlm(model, shutil.copytree(adapter, tmp_path / "same")).fingerprint == reference
    other = shutil.copytree(adapter, tmp_path / "other")
    config = json.loads((other / "adapter_config.json").read_text()) | {"lora_alpha": 1}
    (other / "adapter_config.json").write_text(json.dumps(config))
    assert len({plain, reference, make_vlm(model, str(other)).fingerprint}) == 3
    assert "adapter" not in json.loads(plain)


def test_loading_prints_nothing(
    model: str, adapter: str, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    _ = make_vlm(model, adapter).model
    assert capfd.readouterr() == ("", "")


def test_an_adapter_that_is_missing_or_of_another_model_is_refused(
    model: str, adapter: str, candidates: Candidates, tmp_path: Path
) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"qwen has no adapter_config.json: .* the peft lib"
    ):
        _ = make_vlm(model, model).fingerprint
    with pytest.raises(FileNotFoundError, match=r"no/such is no folder .*; or vlm.adapter=FOLDER"):
        _ = make_vlm(model, "no/such").fingerprint
    partial = shutil.copytree(adapter, tmp_path / "partial")
    (partial / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"partial cannot be attached to \S+qwen: No such file"):
        score(make_vlm(model, str(partial)), candidates)
    wide = make_qwen2_vl(tmp_path / "wide", text={"hidden_size": 64}, vision={"hidden_size": 64})
    with pytest.raises(
        ModelError, match=r"lora, trained on \S+qwen, does not fit \S+wide: .*shape \("
    ):
        score(make_vlm(wide, adapter), candidates)
    deep = make_qwen2_vl(tmp_path / "deep", text={"num_hidden_layers": 3})
    with pytest.raises(ModelError, match=r"does not fit \S+deep: 4 of its weights are missing"):
        score(make_vlm(deep, adapter), candidates)
    other = make_qwen3_vl(tmp_path / "other")
    shutil.copytree(adapter, tmp_path / "names")
    path = tmp_path / "names" / "adapter_model.safetensors"
    save_file({f"x.{name}": value for name, value in load_file(path).items()}, path)
    with pytest.raises(ModelError, match=r"does not fit|cannot be attached"):
        score(make_vlm(other, str(tmp_path / "names")), candidates)
