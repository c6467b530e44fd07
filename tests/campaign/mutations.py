"""Random damage to encoded bytes, reproducible from a seed."""

import random
from collections.abc import Callable

Mutation = Callable[[bytes, random.Random, list[bytes]], bytes]


def flip_bits(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Invert 1 to 16 bits, mostly near the beginning, where headers are."""
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 16)):
        end = len(damaged) if rng.random() < 0.5 else min(len(damaged), 200)
        damaged[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Keep the beginning."""
    return content[: rng.randrange(len(content))]


def splice(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Join the beginning of one file and the end of another."""
    other = rng.choice(others)
    return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]


def claim(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Overwrite two to four bytes near the beginning, where sizes are, by a huge number."""
    n_bytes = rng.choice((2, 4))
    start = rng.randrange(min(len(content), 120))
    return content[:start] + b"\xff" * n_bytes + content[start + n_bytes :]


def drop(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Remove up to 64 bytes from the middle."""
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randint(1, 64) :]


def repeat(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Repeat a part of up to 256 bytes."""
    start = rng.randrange(len(content))
    part = content[start : start + rng.randint(1, 256)]
    return content[:start] + part * rng.randint(2, 8) + content[start:]


MUTATIONS: tuple[Mutation, ...] = (flip_bits, cut, splice, claim, drop, repeat)


def mutate(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Apply one of the mutations; `others` are contents to splice with."""
    return rng.choice(MUTATIONS)(content, rng, others)
