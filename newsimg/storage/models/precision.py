"""Precision of float32 products in torch, whose settings are global to the process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any

_LOCK = RLock()  # overlapping contexts would restore each other's settings


@contextmanager
def inference(tf32: bool) -> Iterator[None]:
    """Disable gradients and set the precision of float32 products; restore all on exit.

    By default, torch rounds the factors of float32 convolutions on a GPU to TF32's 10 bits, which
    changes the third digit of an embedding. The settings apply to all threads; a second thread that
    enters this context waits.

    Args:
        tf32: Whether a GPU may round the factors of float32 products to TF32.
    """
    import torch

    backends: Any = torch.backends  # its type stubs lack these settings
    cudnn, matmul, cpu = backends.cudnn, backends.cuda.matmul, backends.mkldnn
    wanted = dict.fromkeys((matmul, cudnn.conv, cudnn.rnn), "tf32" if tf32 else "ieee")
    wanted |= dict.fromkeys((cpu.matmul, cpu.conv, cpu.rnn), "ieee")
    with _LOCK:
        before = {operation: operation.fp32_precision for operation in wanted}
        # torch has legacy and new settings, and reading the legacy ones fails if they disagree.
        convolutions = _read(lambda: cudnn.allow_tf32)
        products = _read(torch.get_float32_matmul_precision)
        try:
            cudnn.allow_tf32 = tf32
            torch.set_float32_matmul_precision("high" if tf32 else "highest")
            for operation, precision in wanted.items():
                operation.fp32_precision = precision
            with torch.inference_mode():
                yield
        finally:
            if convolutions is not None:
                cudnn.allow_tf32 = convolutions
            if products is not None:
                torch.set_float32_matmul_precision(products)
            for operation, precision in before.items():
                operation.fp32_precision = precision


def _read(setting: Callable[[], Any]) -> Any:
    with suppress(RuntimeError):
        return setting()
    return None
