"""Measurements of pairs and images: PSNR, shift, sharpness, tone and perceptual hashes."""

import hashlib

import numpy as np
from PIL import Image

# Images are reduced by an integer factor below this longer side before their shift is measured,
# which is fast and stays accurate to a tenth of a pixel.
_MAX_SIDE = 800
# Resolution of a shift, in fractions of a pixel.
_PARTS = 20
THUMB = 16


def luma(image: np.ndarray) -> np.ndarray:
    """Returns the full-range BT.601 luma of a uint8 [h, w, 3] image: float32 [h, w] in [0, 255]."""
    red, green, blue = (image[..., channel].astype(np.float32) for channel in range(3))
    total: np.ndarray = 0.299 * red + 0.587 * green + 0.114 * blue
    return total


def reduce(gray: np.ndarray, factor: int) -> np.ndarray:
    """Averages blocks of `factor` x `factor` pixels; incomplete blocks at the edges are dropped."""
    height, width = (side // factor * factor for side in gray.shape)
    blocks = gray[:height, :width].reshape(height // factor, factor, width // factor, factor)
    return blocks.mean((1, 3), dtype=np.float32)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the PSNR of two uint8 images in dB over all channels; infinite if they are equal."""
    difference = first.astype(np.float32) - second.astype(np.float32)
    mse = float(np.mean(np.square(difference, out=difference), dtype=np.float64))
    return float("inf") if mse == 0 else 10 * float(np.log10(255**2 / mse))


def thumbnail(gray: np.ndarray) -> np.ndarray:
    """Returns float32 [16, 16]: the means of parts of a float [h, w] image."""
    return _box_means(gray, THUMB, THUMB)


def _box_means(gray: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Divides an image into a grid of boxes and returns their means, float32 [rows, columns]."""
    picture = Image.fromarray(gray.astype(np.float32, copy=False))
    return np.asarray(picture.resize((columns, rows), Image.Resampling.BOX))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the Pearson correlation of two arrays; 1 if one of them is constant."""
    one, two = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.mean(one**2) * np.mean(two**2)))
    return 1.0 if scale < 1e-3 else float(np.mean(one * two)) / scale


def difference_hash(gray: np.ndarray) -> int:
    """Returns the 64-bit difference hash (dHash): where an image gets brighter to the right.

    Similar images have hashes that differ in few bits, independently of size, format and
    brightness.
    """
    means = _box_means(gray, 8, 9)
    bits = (means[:, 1:] > means[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def digest(image: np.ndarray) -> str:
    """Returns a checksum of the pixels and the size of an image."""
    hashed = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    hashed.update(np.ascontiguousarray(image).data)
    return hashed.hexdigest()


def gradient_energy(gray: np.ndarray) -> float:
    """Returns the mean squared difference of neighbors, which grows with sharpness and noise."""
    down, right = np.diff(gray, axis=0), np.diff(gray, axis=1)
    return float(np.mean(down**2) + np.mean(right**2))


def softening(blurred: np.ndarray, sharp: np.ndarray) -> float:
    """Returns the ratio of the gradient energies of the sharp and the blurred half.

    This is the larger of the ratios at full and at half size, since noise in the blurred half has
    little effect at half size.

    Args:
        blurred: float [h, w].
        sharp: float [h, w].
    """
    ratios = []
    for factor in (1, 2):
        one, two = (reduce(half, factor) for half in (blurred, sharp))
        if min(one.shape) > 1:
            ratios.append((gradient_energy(two) + 1e-3) / (gradient_energy(one) + 1e-3))
    return max(ratios, default=1.0)


def shift(blurred: np.ndarray, sharp: np.ndarray) -> tuple[float, float]:
    """Returns the displacement of the blurred half in pixels, down and right.

    The peak of the cross-correlation is located to a pixel by an FFT, and to a fraction of a pixel
    by a DFT around the peak. Amplitudes are kept: phase correlation would amplify the frequencies
    that motion blur suppresses or inverts, and yields shifts of up to 12 pixels in real pairs of
    GoPro for which this method yields less than one.

    Args:
        blurred: float [h, w].
        sharp: float [h, w].

    Reference:
        Guizar-Sicairos, Thurman and Fienup, Efficient subpixel image registration algorithms,
        2008.
    """
    factor = -(-max(sharp.shape) // _MAX_SIDE)
    one, two = (_windowed(reduce(half, factor)) for half in (blurred, sharp))
    cross = np.fft.fft2(one) * np.conj(np.fft.fft2(two))
    height, width = cross.shape
    surface = np.fft.ifft2(cross).real
    peak = np.unravel_index(int(np.argmax(surface)), surface.shape)
    coarse = [
        int(place) - side if place > side // 2 else int(place)
        for place, side in zip(peak, (height, width), strict=True)
    ]
    around = np.arange(-_PARTS, _PARTS + 1) / _PARTS
    rows, columns = coarse[0] + around, coarse[1] + around
    down = np.exp(2j * np.pi * np.outer(rows, np.fft.fftfreq(height)))
    right = np.exp(2j * np.pi * np.outer(np.fft.fftfreq(width), columns))
    # `einsum` does not use BLAS, whose threads would compete in a pool of processes.
    fine = np.einsum("ij,jk->ik", np.einsum("ij,jk->ik", down, cross), right).real
    row, column = np.unravel_index(int(np.argmax(fine)), fine.shape)
    return factor * float(rows[row]), factor * float(columns[column])


def _windowed(gray: np.ndarray) -> np.ndarray:
    """Subtracts the mean and applies a Hann window against artifacts of the edges in the FFT."""
    rows, columns = (np.hanning(side + 2)[1:-1] for side in gray.shape)
    return (gray - gray.mean()) * np.outer(rows, columns)


# Range of the exponents that `tone` returns.
TONES = (-1.0, 5.0)


def tone(blurred: np.ndarray, sharp: np.ndarray) -> float | None:
    """Returns the exponent of the light in which blurring preserved the mean.

    Averaging pixel values preserves their mean, so the exponent is 1. Averaging light, pixel
    values to the power of 2.2, preserves the mean of light, so it is 2.2. The response function of
    a camera may yield more, and motion across the image border adds a small error.

    Args:
        blurred: uint8 [h, w, 3].
        sharp: uint8 [h, w, 3].

    Returns:
        The exponent, clipped to [-1, 5], or None if the blur is too weak to measure it.
    """
    exponents = np.linspace(*TONES, 61)
    # Without zero, which has no negative powers.
    levels = np.maximum(np.arange(256), 1) / 255
    means = []
    for half in (blurred, sharp):
        share = np.bincount(half.ravel(), minlength=256) / half.size
        # The mean of the light for each exponent, converted back to a pixel value.
        powers = [exponent if abs(exponent) > 1e-6 else 1e-6 for exponent in exponents]
        means.append(np.array([float((share * levels**p).sum()) ** (1 / p) for p in powers]))
    # Blurring removes extremes, which raises the means of low powers and lowers those of high ones:
    # the gap decreases with the exponent.
    gap = means[0] - means[1]
    if gap.max() - gap.min() < 0.004:
        return None
    crossings = np.flatnonzero((gap[:-1] > 0) & (gap[1:] <= 0))
    if not len(crossings):
        return TONES[1] if gap[-1] > 0 else TONES[0]
    place = int(crossings[0])
    part = gap[place] / (gap[place] - gap[place + 1])
    return float(exponents[place] + part * (exponents[place + 1] - exponents[place]))
