"""One step of training after the other, as all of the sample's models take them."""

import time
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def draw_batches(n: int, size: int, seed: int) -> Iterable[NDArray[np.int64]]:
    """Yield rows in a random order, `size` at a time; a rest is left out."""
    order = np.random.default_rng([7, seed]).permutation(n)
    return (order[first : first + size] for first in range(0, n - size + 1, size))


def plan_steps(
    parameters: list[nn.Parameter], rate: float, n_steps: int, warm_up: float
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW and a one-cycle schedule whose rate rises for the share `warm_up` of it."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=n_steps, pct_start=warm_up
    )


def take_step(
    loss: Tensor,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Move the parameters against the gradient, which is clipped to length 1."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    scheduler.step()


def report_epoch(step: str, epoch: int, n_epochs: int, losses: list[float], start: float) -> None:
    """Print the mean loss of an epoch, and how long it took."""
    seconds = time.perf_counter() - start
    print(f"{step} {epoch + 1}/{n_epochs}: loss {np.mean(losses):.3f}, {seconds:.0f} s", flush=True)
