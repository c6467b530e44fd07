"""How exactly float32 is computed; torch's own settings for it are the whole process's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any

_ALONE = RLock()  # two that overlapped would put back each other's settings


@contextmanager
def inference(tf32: bool) -> Iterator[None]:
    """Run models without gradients, and compute float32 as asked for; then all is as before.

    Left alone, torch rounds the factors of float32 convolutions on a GPU to TF32's 10 bits, which
    moves an embedding in the third digit. What other threads compute meanwhile goes by these
    settings, too; those that come here wait.

    Args:
        tf32: Whether a GPU may round the factors of float32 products to TF32.
    """
    import torch

    backends: Any = torch.backends  # whose types leave out what is set here
    cudnn, matmul, cpu = backends.cudnn, backends.cuda.matmul, backends.mkldnn
    wanted = dict.fromkeys((matmul, cudnn.conv, cudnn.rnn), "tf32" if tf32 else "ieee")
    wanted |= dict.fromkeys((cpu.matmul, cpu.conv, cpu.rnn), "ieee")
    with _ALONE:
        before = {operation: operation.fp32_precision for operation in wanted}
        # torch has two kinds of settings, and refuses to tell the older where they contradict.
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
