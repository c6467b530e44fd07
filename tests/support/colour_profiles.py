"""Small ICC profiles, and conversions of their colours to sRGB."""

import struct

import numpy as np

# Matrices of AdobeRGB and sRGB, adapted to D50: the columns are the XYZ of red, green and blue.
ADOBE_RGB = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.0971, 0.7141]]
)
D50 = np.array([0.9642, 1.0, 0.8249])
GAMMA = 563 / 256  # AdobeRGB's


def _fixed(numbers: np.ndarray) -> bytes:
    return b"".join(struct.pack(">i", round(float(number) * 65536)) for number in numbers)


def _build(device_class: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    start = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content + b"\0" * (-len(content) % 4)
    header = struct.pack(">I4xI", start + len(data), 0x02100000) + device_class + space + pcs
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + _fixed(D50)
    return header.ljust(128, b"\0") + table + data


def _xyz(numbers: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(numbers)


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def _common(name: str) -> dict[bytes, bytes]:
    text = name.encode() + b"\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78
    return {b"desc": described, b"cprt": b"text\0\0\0\0" + text, b"wtpt": _xyz(D50)}


def rgb_profile(matrix: np.ndarray = ADOBE_RGB, gamma: float = GAMMA) -> bytes:
    """Return a display profile with a gamma curve and a matrix."""
    tags = _common("RGB")
    for column, colour in enumerate("rgb"):
        tags[f"{colour}XYZ".encode()] = _xyz(matrix[:, column])
        tags[f"{colour}TRC".encode()] = _curve(gamma)
    return _build(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    """Return a greyscale profile with a gamma curve."""
    return _build(b"mntr", b"GRAY", b"XYZ ", _common("grey") | {b"kTRC": _curve(gamma)})


def cmyk_profile(padding: int = 0) -> bytes:
    """Return a printer profile of `cmyk_to_lab`, enlarged by `padding` bytes."""
    corners = [cmyk_to_lab(*(i >> shift & 1 for shift in (3, 2, 1, 0))) for i in range(16)]
    grid = bytes(
        round(value) for light, a, b in corners for value in (light * 2.55, a + 128, b + 128)
    )
    ramp = bytes(range(256))
    matrix = _fixed(np.eye(3).ravel())
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + grid + ramp * 3
    tags = _common("press") | {b"A2B0": table, b"A2B1": table}
    if padding:
        noise = np.random.default_rng(0).bytes(padding)
        tags[b"cust"] = b"data\0\0\0\0\0\0\0\1" + noise
    return _build(b"prtr", b"CMYK", b"Lab ", tags)


def cmyk_to_lab(c: float, m: float, y: float, k: float) -> tuple[float, float, float]:
    """Return the Lab colour of inks, 0 or 1 each; the colours are made up for the test."""
    light = (1 - k) * (100 - 40 * c - 45 * m - 8 * y)
    return max(light, 0.0), (1 - k) * (-25 * c + 60 * m), (1 - k) * (-30 * c + 70 * y)


def lab_to_srgb(light: float, a: float, b: float) -> np.ndarray:
    """Return the sRGB of a colour, 0 to 255, by the formulas of CIE and IEC 61966-2-1."""
    fy = (light + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * D50
    return xyz_to_srgb(xyz)


def rgb_to_srgb(colour: np.ndarray) -> np.ndarray:
    """Return the sRGB of AdobeRGB colours, (..., 3), 0 to 255."""
    return xyz_to_srgb((np.asarray(colour) / 255) ** GAMMA @ ADOBE_RGB.T)


def grey_to_srgb(shade: np.ndarray, gamma: float) -> np.ndarray:
    """Return the sRGB of greys, 0 to 255."""
    return _encode((np.asarray(shade) / 255) ** gamma)


def xyz_to_srgb(xyz: np.ndarray) -> np.ndarray:
    """Return the sRGB of XYZ under D50, (..., 3), 0 to 255."""
    return _encode(xyz @ np.linalg.inv(SRGB).T)


def _encode(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
