"""Small random models of the original architectures, saved in the original format."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessorPil,
)
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

from newsimg.backbone.base import to_unit_rows
from newsimg.interfaces import Backbone

torch.set_num_threads(1)  # more threads slow down models of this size

TEXTS = [
    "Rate how well this picture fits the news headline. Answer with one digit from 1 to 5.",
    "Describe different photographs that could illustrate this headline.",
    "system user assistant Headline Picture Storm hits the harbour; a cow on a meadow",
]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_TOKENS = ["<pad>", "<|im_start|>", "<|im_end|>"]
QWEN_TOKENS = [
    *CHATML_TOKENS,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
SMOLVLM_TOKENS = [
    *CHATML_TOKENS,
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<image>",
    "<global-img>",
    *[f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)],
]


def make_tokenizer(specials, template, vocab_size=420, texts=TEXTS, eos="<|im_end|>"):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(specials),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token=eos,
        additional_special_tokens=[token for token in specials if token not in ("<pad>", eos)],
    )
    fast.chat_template = template
    return fast


def text_settings(tokenizer, **changes):
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    } | changes


def make_llama(folder: Path, examples=()) -> str:
    """Save a Llama overfitted to `examples`, pairs of a chat and an answer."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(CHATML_TOKENS, CHATML)
    model = LlamaForCausalLM(LlamaConfig(**text_settings(tokenizer, hidden_size=64)))
    if examples:
        overfit(model, tokenizer, examples)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def overfit(model, tokenizer, examples, max_steps=400):
    rows, masks = [], []
    for chat, answer in examples:
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        begin = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        rest = tokenizer(answer + "<|im_end|>", add_special_tokens=False)["input_ids"]
        rows.append(begin + rest)
        masks.append([-100] * len(begin) + rest)
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    labels = torch.tensor([mask + [-100] * (longest - len(mask)) for mask in masks])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(max_steps):
        loss = model(input_ids=tokens, labels=labels).loss
        if loss < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


MROPE = {"rope_type": "default", "rope_theta": 1e4}
QWEN_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "out_hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "patch_size": 14,
}


def make_qwen2_vl(folder: Path, *, max_pixels=56 * 84, text=None, vision=None) -> str:
    towers = {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "num_heads": 2, "depth": 2}
    towers |= {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
    rope = {"rope_parameters": MROPE | {"mrope_section": [1, 1, 2]}}
    return make_qwen(folder, "Qwen2VL", 1, rope | (text or {}), towers | (vision or {}), max_pixels)


def make_qwen2_5_vl(folder: Path) -> str:
    """Save a model whose picture tower attends to windows."""
    windows = {"window_size": 56, "fullatt_block_indexes": [1]}
    rope = {"rope_parameters": MROPE | {"mrope_section": [1, 1, 2]}}
    return make_qwen(folder, "Qwen2_5_VL", 4, rope, QWEN_VISION | windows)


def make_qwen3_vl(folder: Path) -> str:
    """Save a model that adds features of the picture in several layers (DeepStack)."""
    rope = MROPE | {"mrope_section": [2, 1, 1], "mrope_interleaved": True}
    features = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    text = {"head_dim": 8, "rope_parameters": rope}
    return make_qwen(folder, "Qwen3VL", 3, text, QWEN_VISION | features)


def make_qwen3_5(folder: Path) -> str:
    """Save a model in which every other layer is recurrent (linear attention)."""
    rope = MROPE | {"mrope_section": [2, 1, 1], "mrope_interleaved": True}
    text = {
        "head_dim": 8,
        "rope_parameters": rope | {"partial_rotary_factor": 1.0},
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
    }
    return make_qwen(folder, "Qwen3_5", 3, text, QWEN_VISION | {"num_position_embeddings": 64})


def make_qwen(folder: Path, kind: str, seed: int, text, vision, max_pixels=56 * 84) -> str:
    """Save a model of a class of Qwen's family, named as in transformers."""
    import transformers

    torch.manual_seed(seed)
    tokenizer = make_tokenizer(QWEN_TOKENS, CHATML)
    config = getattr(transformers, f"{kind}Config")(
        text_config=text_settings(tokenizer, **text),
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    sharpen(model)
    processor = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=max_pixels)
    save(model, tokenizer, processor, folder)
    return str(folder)


def make_idefics(folder: Path, family="smolvlm") -> str:
    torch.manual_seed(2)
    config_class, model_class, processor_class = {
        "smolvlm": (SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessorPil),
        "idefics3": (Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessorPil),
    }[family]
    tokenizer = make_tokenizer(SMOLVLM_TOKENS, DEFAULT_CHAT_TEMPLATE, eos="<end_of_utterance>")
    config = config_class(
        text_config=text_settings(tokenizer) | {"model_type": "llama"},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    model = model_class(config)
    sharpen(model)
    processor = processor_class(size={"longest_edge": 96}, max_image_size={"longest_edge": 32})
    if family == "idefics3":  # the processor of SmolVLM needs packages that are not installed
        processor = Idefics3Processor(processor, tokenizer, image_seq_len=4)
    save(model, tokenizer, processor, folder)
    return str(folder)


def sharpen(model):
    """Scale a random model's weights so that its answers differ by more than rounding errors."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(6.0 if "lm_head" in name else 3.0)


def save(model, tokenizer, processor, folder):
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)


def draw_pictures(folder: Path, sizes):
    """Save random pictures with smooth areas, which still differ after resizing."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    paths = []
    for i, (width, height) in enumerate(sizes):
        coarse = PILImage.fromarray(rng.integers(0, 255, (4, 5, 3), dtype=np.uint8))
        paths.append(folder / f"{i}.png")
        coarse.resize((width, height)).save(paths[-1])
    return paths


class RandomBackbone(Backbone):
    """Embeds each text and picture in a random direction; some pictures are hubs."""

    query_template = "{title}"
    fingerprint = "random"
    batch_size = 64

    def embed_texts(self, texts):
        return np.concatenate([self._draw(text, 0.0) for text in texts])

    def embed_images(self, images):
        return np.concatenate(
            [self._draw(i.image_id, 2.0 * (int(i.image_id) % 50 == 0)) for i in images]
        )

    def _draw(self, seed, pull):
        rng = np.random.default_rng(list(seed.encode()))
        return to_unit_rows(rng.normal(size=(1, 8)).astype(np.float32) + 0.6 + np.float32(pull))
