"""Chat models of the transformers library."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from newsimg.datatypes import Chat, KeepText
from newsimg.interfaces import LanguageModel
from newsimg.storage.models.batches import BatchSize, TokenBatches, count_state_tokens
from newsimg.storage.models.checkpoints import Checkpoint, check_positive, greedy_settings
from newsimg.storage.text.suggest import check_choice

if TYPE_CHECKING:
    import torch


GPU_ROWS, CPU_ROWS = 128, 16  # chats of batch_size=auto: an interrupted run loses one batch

# Settings that have arguments, or that answers could not be drawn with reproducibly.
OWN_SETTINGS = {
    "max_new_tokens": "set llm.max_new_tokens",
    "temperature": "set llm.temperature",
    "top_p": "set llm.top_p",
    "do_sample": "an answer is drawn where reranker.seed is given",
    "num_beams": "an answer is drawn or decoded greedily",
    "num_return_sequences": "a chat has one answer",
}
TEMPLATE_ARGUMENTS = {"conversation", "tokenize", "add_generation_prompt", "chat_template"}


class TransformersLLM(LanguageModel):
    """A causal language model with a chat template, loaded at first use.

    Args:
        model: Hub id or local folder.
        revision: Branch, tag or commit of a hub model.
        dtype: Type of weights and activations: float32, tf32 (float32, products in TF32 on a GPU),
            bfloat16 or float16.
        device: A torch device, or "auto".
        batch_size: Largest number of chats per forward pass; "auto" for 128 on a GPU and 16 on a
            CPU, or as many as fit into memory.
        max_new_tokens: Maximum length of an answer.
        temperature: Sampling temperature.
        top_p: Nucleus sampling threshold.
        generation: Further settings of `transformers.GenerationConfig`, such as
            `repetition_penalty` or `no_repeat_ngram_size`.
        chat_template_kwargs: Variables of the model's chat template, such as `enable_thinking`.
        trust_remote_code: Whether to run Python code from the model's repository.

    Raises:
        ValueError: If an argument is out of range; names it.
    """

    padding_side = "left"

    def __init__(
        self,
        *,
        model: str,
        revision: str,
        dtype: str,
        device: str,
        batch_size: BatchSize,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        generation: dict[str, Any] | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.checkpoint = Checkpoint("llm", model, revision, dtype, device, trust_remote_code)
        check_positive("llm", max_new_tokens=max_new_tokens)
        if not temperature > 0:
            raise ValueError(f"llm.temperature must be above 0, got {temperature}")
        if not 0 < top_p <= 1:
            raise ValueError(f"llm.top_p must be in (0, 1], got {top_p}")
        self.generation = check_generation(generation or {})
        self.template_variables = dict(chat_template_kwargs or {})
        if own := sorted(self.template_variables.keys() & TEMPLATE_ARGUMENTS):
            raise ValueError(
                f"llm.chat_template_kwargs must hold variables of the template, got {own[0]}, "
                "which newsimg sets"
            )
        self.batches = TokenBatches("llm", batch_size)
        self.max_new_tokens = max_new_tokens
        self.temperature = float(temperature)
        self.top_p = float(top_p)

    @cached_property
    def fingerprint(self) -> str:
        """See `LanguageModel.fingerprint`. The chat template is part of the model's files."""
        further = {"generation": self.generation, "chat_template_kwargs": self.template_variables}
        return json.dumps(
            {
                "class": type(self).__name__,
                **self.checkpoint.describe(),
                **self.checkpoint.arithmetic,
                "padding_side": self.padding_side,
                "max_new_tokens": self.max_new_tokens,
                "temperature": self.temperature,
                "top_p": self.top_p,
                "noise": GumbelNoise.name,
                **{name: values for name, values in further.items() if values},
            }
        )

    def generate(
        self, chats: Sequence[Chat], seed: int | None, keep: KeepText | None = None
    ) -> list[str]:
        """See `LanguageModel.generate`.

        Raises:
            ValueError: If the model has no chat template.
        """
        prompts = [
            self.tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True, **self.template_variables
            )
            for chat in chats
        ]
        # Special tokens are included in the template.
        rows = self.tokenizer(prompts, add_special_tokens=False)["input_ids"] if prompts else []
        answers = [""] * len(prompts)

        def answer(batch: list[int]) -> None:
            drawing = [] if seed is None else self._draw_by([prompts[i] for i in batch], seed)
            for i, text in zip(batch, self._answer([rows[i] for i in batch], drawing), strict=True):
                answers[i] = text
                if keep:
                    keep(i, text)

        self.batches.run(
            [len(row) for row in rows],
            answer,
            auto_rows=CPU_ROWS if self.model.device.type == "cpu" else GPU_ROWS,
            max_state_tokens=count_state_tokens(self.model),
            n_before=self.max_new_tokens,
        )
        return answers

    @cached_property
    def model(self) -> Any:
        """The model, loaded."""
        from transformers import AutoModelForCausalLM

        return self.checkpoint.load_model(AutoModelForCausalLM)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        tokenizer = self.checkpoint.load_tokenizer()
        if tokenizer.chat_template is None:
            raise ValueError(
                f"llm.model must be a chat model, but {self.checkpoint.model} has no template"
            )
        if tokenizer.pad_token is None:  # as in Llama 3; padding is masked, so any token works
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def _answer(self, rows: list[list[int]], drawing: list[Any]) -> list[str]:
        from transformers import LogitsProcessorList

        inputs = self.tokenizer.pad(
            {"input_ids": rows}, padding_side=self.padding_side, return_tensors="pt"
        ).to(self.model.device)
        settings = greedy_settings(self.model, self.tokenizer, self.max_new_tokens)
        settings.update(**self.generation)
        with self.checkpoint.inference():
            tokens = self.model.generate(
                **inputs,
                generation_config=settings,
                logits_processor=LogitsProcessorList(drawing),
            )
        written = tokens[:, inputs["input_ids"].shape[1] :]
        return self.tokenizer.batch_decode(written, skip_special_tokens=True)

    def _draw_by(self, prompts: list[str], seed: int) -> list[Any]:
        from transformers import TemperatureLogitsWarper, TopPLogitsWarper

        warpers = [TemperatureLogitsWarper(self.temperature), TopPLogitsWarper(self.top_p)]
        return [*warpers, GumbelNoise(prompts, seed)]


class GumbelNoise:
    """Samples by the Gumbel-max trick, with noise that depends on prompt, seed, step and token.

    A sample depends on nothing else: not on its batch, not on the device. The noise of a step is a
    stream of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
    generators"), computed for all rows at once on the model's device.

    Args:
        prompts: Prompt of each row.
        seed: Seed shared by all rows.
    """

    name = "splitmix64"

    def __init__(self, prompts: Sequence[str], seed: int) -> None:
        self.streams = [f"{seed}|{prompt}" for prompt in prompts]
        self.step = 0

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """Add noise to `scores`: (n_rows, n_tokens)."""
        import torch

        starts = torch.tensor(
            [hash_to_int(f"{self.step}|{stream}") for stream in self.streams], device=scores.device
        )
        self.step += 1
        tokens = torch.arange(1, scores.shape[1] + 1, device=scores.device)
        bits = mix(starts[:, None] + tokens * as_int64(0x9E3779B97F4A7C15))
        uniform = (shift_right(bits, 12) + 0.5) * 2.0**-52  # exact in a double, in (0, 1)
        return scores.float() - (-uniform.log()).log().float()


def mix(states: "torch.Tensor") -> "torch.Tensor":
    """Return SplitMix64's output for states, as 64-bit integers that overflow."""
    states = (states ^ shift_right(states, 30)) * as_int64(0xBF58476D1CE4E5B9)
    states = (states ^ shift_right(states, 27)) * as_int64(0x94D049BB133111EB)
    return states ^ shift_right(states, 31)


def shift_right(values: "torch.Tensor", n_bits: int) -> "torch.Tensor":
    """Shift 64-bit integers to the right as if unsigned."""
    return (values >> n_bits) & ((1 << (64 - n_bits)) - 1)


def as_int64(value: int) -> int:
    """Return the signed integer with the same 64 bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


def hash_to_int(text: str) -> int:
    """Return a signed 64-bit integer that depends on a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], signed=True)


def check_generation(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check further settings of generation and return them.

    Raises:
        ValueError: If one is unknown, or is an argument of its own.
    """
    if not settings:
        return {}  # transformers takes a second to import
    if own := sorted(settings.keys() & OWN_SETTINGS):
        raise ValueError(f"llm.generation must not hold {own[0]}: {OWN_SETTINGS[own[0]]}")
    from transformers import GenerationConfig

    known = sorted(vars(GenerationConfig()))
    for name in settings:
        check_choice("a key of llm.generation", name, known)
    return dict(settings)
