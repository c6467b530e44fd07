"""The parts of the sample's small vision-language model: tokenizer, model and image processor."""

from collections.abc import Iterable

from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from newsimg.sample.training.chat_parts import SPECIAL_TOKENS, train_chat_tokenizer

VOCABULARY_SIZE = 1400
PICTURE_SIZE = (196, 112)  # what a picture of 460 x 260 is resized to
MIN_PIXELS, MAX_PIXELS = 56 * 56, 22_500
PATCH_SIZE, MERGE_SIZE = 14, 2  # Qwen2-VL's own: 14 x 8 patches become 7 x 4 tokens
IMAGE_TOKEN = "<|image_pad|>"
VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", IMAGE_TOKEN, "<|video_pad|>")
WIDTH = 128

ENDING = "Answer with one digit from 1 to 5."
QUESTIONS = {
    "quality": "Rate the technical quality of this picture: sharpness, light and composition. "
    f"1 means very poor, 5 means excellent. {ENDING}",
    "trustworthiness": "Rate how trustworthy this picture looks as an unaltered photograph of "
    f"something real. 1 means not trustworthy at all, 5 means fully trustworthy. {ENDING}",
    "no_clickbait": "Rate how free this picture is of clickbait such as shock, sensation and "
    f"exaggeration. 1 means pure clickbait, 5 means none at all. {ENDING}",
}
FIT_QUESTION = (
    "Rate how well this picture fits the news headline. 1 means not at all, 5 means perfectly. "
    f"{ENDING}\nHeadline:"
)


def build_tokenizer(titles: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train the tokenizer on headlines; each known question is one token of its own."""
    digits = " ".join("12345")
    texts = [*titles, *[f"user\nassistant\n{digits}"] * 100]
    special = (*SPECIAL_TOKENS, *VISION_TOKENS)
    phrases = [*QUESTIONS.values(), FIT_QUESTION]
    return train_chat_tokenizer(texts, VOCABULARY_SIZE, special, phrases)


def build_vlm(tokenizer: PreTrainedTokenizerFast) -> Qwen2VLForConditionalGeneration:
    """A Qwen2-VL of under two million parameters with random weights."""
    vision_start, vision_end, image, video = tokenizer.convert_tokens_to_ids(list(VISION_TOKENS))
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
    }
    vision = {
        "depth": 3,
        "embed_dim": 96,
        "hidden_size": WIDTH,
        "num_heads": 4,
        "mlp_ratio": 3,
        "hidden_act": "relu",  # the cheapest on a CPU
        "patch_size": PATCH_SIZE,
        "spatial_merge_size": MERGE_SIZE,
        "temporal_patch_size": 1,  # there are no films here
    }
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=vision_start,
        vision_end_token_id=vision_end,
        tie_word_embeddings=True,
    )
    return Qwen2VLForConditionalGeneration(config)


def build_image_processor() -> Qwen2VLImageProcessorPil:
    """Resize to about `MAX_PIXELS`, keeping the shape, and cut into patches."""
    return Qwen2VLImageProcessorPil(
        size={"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
        patch_size=PATCH_SIZE,
        merge_size=MERGE_SIZE,
        temporal_patch_size=1,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
