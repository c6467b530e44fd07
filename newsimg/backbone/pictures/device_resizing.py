"""Pillow's resizing for pictures on a GPU: a batch of any sizes by two matrix products."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from PIL.Image import Resampling

from newsimg.backbone.pictures.preprocessing import PixelPreprocessor

if TYPE_CHECKING:
    import torch

# Pixels of the padded pictures that are resized at a time: 200 MB of floats.
MAX_PIXELS = 1 << 24

Sampling = tuple[int, int]  # rows and columns of pixels that share a colour difference
# Length of a side, its resized length, and where the crop begins in that.
Side = tuple[int, int, int]


def resize_on_device(
    pictures: "Sequence[torch.Tensor]", found: PixelPreprocessor, samplings: Sequence[Sampling]
) -> "torch.Tensor":
    """Resize and crop decoded pictures as `found` does, within one grey level.

    Pillow's filters are weighted means of a row, then of a column, each rounded to 8 bits; all
    weights of a picture are one matrix a side. Rounding of the weights differs.

    Args:
        pictures: (3, height, width) uint8 each, on one device.
        found: Size, filter and crop; its filter is one of `FILTERS`.
        samplings: See `smooth_colours`; (1, 1) leaves a picture as it is.

    Returns:
        (n_pictures, height, width, 3) uint8 on the same device.
    """
    import torch

    _, (left, top, right, bottom) = found.place(*pictures[0].shape[:0:-1])
    made = pictures[0].new_empty(len(pictures), 3, bottom - top, right - left)
    for group in group_sizes(pictures, samplings):
        padded = pad_pictures([pictures[i] for i in group], samplings[group[0]])
        sides: tuple[list[Side], list[Side]] = [], []
        for i in group:
            old = pictures[i].shape[:0:-1]
            new, box = found.place(*old)
            for side in (0, 1):
                sides[side].append((old[side], new[side], box[side]))
        columns = _weigh(sides[0], padded.shape[3], right - left, found.resample, made.device)
        rows = _weigh(sides[1], padded.shape[2], bottom - top, found.resample, made.device)
        wide = padded.flatten(1, 2) @ columns.mT
        narrow = rows[:, None] @ _round(wide).view(len(group), 3, padded.shape[2], -1)
        made[torch.tensor(group, device=made.device)] = _round(narrow).to(torch.uint8)
    return made.permute(0, 2, 3, 1)


def group_sizes(
    pictures: "Sequence[torch.Tensor]", samplings: Sequence[Sampling]
) -> Iterator[list[int]]:
    """Yield positions of pictures of one sampling which fit into memory when padded to one size."""
    sizes = [tuple(own.shape[1:]) for own in pictures]
    group: list[int] = []
    height = width = 0
    for i in sorted(range(len(sizes)), key=lambda i: (samplings[i], sizes[i])):
        height, width = max(height, sizes[i][0]), max(width, sizes[i][1])
        fits = (len(group) + 1) * height * width <= MAX_PIXELS
        if group and not (fits and samplings[i] == samplings[group[0]]):
            yield group
            group, (height, width) = [], sizes[i]
        group.append(i)
    if group:
        yield group


def pad_pictures(pictures: "Sequence[torch.Tensor]", sampling: Sampling) -> "torch.Tensor":
    """Pad pictures to one size, and smooth their colours.

    Args:
        pictures: (3, height, width) uint8 each.
        sampling: Of all pictures.

    Returns:
        (n_pictures, 3, height, width) float32, whole numbers.
    """
    import torch

    # Smoothing looks two colour differences beyond the edge, where the last pixel is repeated.
    margin = 0 if sampling == (1, 1) else 2 * max(sampling)
    height, width = (max(own.shape[side] for own in pictures) + margin for side in (1, 2))
    padded = pictures[0].new_zeros(len(pictures), 3, height, width)
    sizes: dict[tuple[int, ...], list[int]] = {}
    for place, own in enumerate(pictures):
        sizes.setdefault(tuple(own.shape[1:]), []).append(place)
    for (height, width), places in sizes.items():
        same = torch.stack([pictures[i] for i in places])  # most pictures have one of few sizes
        if margin:
            same = same[:, :, _repeat_end(height, margin, same)]
            same = same[:, :, :, _repeat_end(width, margin, same)]
        rows = slice(None) if len(sizes) == 1 else torch.tensor(places, device=same.device)
        padded[rows, :, : height + margin, : width + margin] = same
    return padded.float() if not margin else smooth_colours(padded.float(), sampling)


def _repeat_end(length: int, margin: int, like: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.arange(length + margin, device=like.device).clamp(max=length - 1)


def smooth_colours(pixels: "torch.Tensor", sampling: Sampling) -> "torch.Tensor":
    """Interpolate the colours of decoded JPEGs, as libjpeg does and nvJPEG does not.

    A JPEG has one colour difference (Cb, Cr) for several pixels. Decoders repeat it, or interpolate
    between neighbours by 3/4 and 1/4 ("fancy upsampling"), which Pillow does.

    Args:
        pixels: (n_pictures, 3, height, width) float32, with repeated colour differences.
        sampling: Rows and columns of pixels that share a difference.

    Returns:
        The same shape, whole numbers.
    """
    import torch
    from torch.nn.functional import avg_pool2d, interpolate

    red, green, blue = pixels.unbind(1)
    light = 0.299 * red + 0.587 * green + 0.114 * blue  # of JFIF, as are the factors below
    differences = torch.stack([(blue - light) / 1.772, (red - light) / 1.402], dim=1)
    settings = {"ceil_mode": True, "count_include_pad": False}
    shared = avg_pool2d(differences, sampling, **settings)
    smooth = interpolate(shared, scale_factor=sampling, mode="bilinear")
    cb, cr = smooth[..., : pixels.shape[2], : pixels.shape[3]].unbind(1)
    green = light - 0.344136286 * cb - 0.714136286 * cr
    return _round(torch.stack([light + 1.402 * cr, green, light + 1.772 * cb], dim=1))


def _weigh(
    sides: Sequence[Side],
    n_in: int,
    n_out: int,
    resample: int,
    device: "torch.device",
) -> "torch.Tensor":
    """Return the weights of old pixels for new ones, (n_pictures, n_out, n_in), as Pillow has them.

    The first length is 1 if they are the same for all pictures.

    Args:
        sides: One side of each picture.
        n_in: Length of the longest side.
        n_out: Length of the crop.
        resample: Filter of Pillow.
        device: Where they are computed.
    """
    import torch

    support, compute = FILTERS[Resampling(resample)]
    kinds = list(dict.fromkeys(sides))  # pictures of a collection often have the same size
    old, new, start = torch.tensor(kinds, dtype=torch.float64).to(device).T[..., None, None]
    scale = old / new
    stretch = scale.clamp(min=1).float()  # a smaller picture is a mean over more pixels
    number = torch.arange(n_out, device=device, dtype=torch.float64)[:, None] + start
    position = torch.arange(n_in, device=device)
    distance = (position + 0.5 - (number + 0.5) * scale).float() / stretch
    weights = compute(distance) * ((distance.abs() < support) & (position < old))
    weights = weights / weights.sum(dim=2, keepdim=True)
    weights = torch.where((number >= 0) & (number < new), weights, 0)  # black borders
    if len(kinds) == 1:
        return weights
    return weights[torch.tensor([kinds.index(side) for side in sides], device=device)]


def _round(values: "torch.Tensor") -> "torch.Tensor":
    return (values + 0.5).floor_().clamp_(0, 255)


def _bilinear(x: "torch.Tensor") -> "torch.Tensor":
    return 1 - x.abs()


def _bicubic(x: "torch.Tensor") -> "torch.Tensor":
    import torch

    a = -0.5
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    return torch.where(x < 1, near, (((x - 5) * x + 8) * x - 4) * a)


def _lanczos(x: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.sinc(x) * torch.sinc(x / 3)


# Filter -> how many old pixels it reaches to each side, and its function of the distance.
FILTERS: "dict[Resampling, tuple[int, Callable[[torch.Tensor], torch.Tensor]]]" = {
    Resampling.BILINEAR: (1, _bilinear),
    Resampling.BICUBIC: (2, _bicubic),
    Resampling.LANCZOS: (3, _lanczos),
}
