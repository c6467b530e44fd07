"""Pictures embedded per second on a GPU or CPU, compared with its matrix-product throughput.

    python tests/bench/bench_gpu.py [batch]

Measures CLIP vision towers of the shapes of ViT-B/32 and ViT-L/14 with random weights; without a
GPU tiny ones. The ceiling is computed from the time of a large matrix product of the same dtype,
scaled to the tower's floating-point operations.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = {"ViT-B/32": (768, 12, 32, 224), "ViT-L/14": (1024, 24, 14, 224)}
TINY = {"tiny/8": (64, 2, 8, 64), "tiny/16": (128, 2, 16, 64)}
ROUNDS = 7


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


@torch.inference_mode()
def main(batch: int) -> None:
    """Print the table."""
    size = 8192 if DEVICE == "cuda" else 512
    print(f"{DEVICE}, batch {batch}, medians of {ROUNDS}")
    print(f"{'tower':<10}{'dtype':<12}{'pictures/s':>12}{'ceiling':>12}{'share':>8}")
    for name, shape in (SHAPES if DEVICE == "cuda" else TINY).items():
        dim, layers, patch, side = shape
        config = CLIPVisionConfig(
            hidden_size=dim,
            intermediate_size=4 * dim,
            num_hidden_layers=layers,
            num_attention_heads=dim // 64,
            patch_size=patch,
            image_size=side,
        )
        for dtype in (torch.float32, torch.bfloat16):
            tower = CLIPVisionModel(config).to(DEVICE, dtype).eval()
            pixels = torch.randn(batch, 3, side, side, device=DEVICE, dtype=dtype)
            square = torch.randn(size, size, device=DEVICE, dtype=dtype)
            seconds, products = [], []
            for _ in range(ROUNDS + 2):
                seconds.append(measure(lambda: tower(pixels)))  # noqa: B023
                products.append(measure(lambda: square @ square))  # noqa: B023
            speed = batch / statistics.median(seconds[2:])
            rate = 2 * size**3 / statistics.median(products[2:])
            ceiling = rate / count_operations(*shape)
            label = str(dtype).removeprefix("torch.")
            print(f"{name:<10}{label:<12}{speed:12.0f}{ceiling:12.0f}{speed / ceiling:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else (256 if DEVICE == "cuda" else 8))
