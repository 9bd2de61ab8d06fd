"""Numbers about a pair of pictures: how far apart, how shifted, how sharp, in which tone."""

import hashlib

import numpy as np

# Pictures are reduced by a whole factor below this many pixels a side before they are compared by
# their frequencies: the result stays within a tenth of a pixel, and large frames stay cheap.
_LONGEST = 800
# Parts of a pixel to which a shift is found.
_PARTS = 20
THUMB = 16


def luma(image: np.ndarray) -> np.ndarray:
    """Returns the brightness of a uint8 [h, w, 3] picture as float32 [h, w] in [0, 255]."""
    red, green, blue = (image[..., channel].astype(np.float32) for channel in range(3))
    total: np.ndarray = 0.299 * red + 0.587 * green + 0.114 * blue
    return total


def reduce(gray: np.ndarray, factor: int) -> np.ndarray:
    """Averages squares of `factor` pixels; what does not fill one at the edges is left out."""
    height, width = (side // factor * factor for side in gray.shape)
    blocks = gray[:height, :width].reshape(height // factor, factor, width // factor, factor)
    return blocks.mean((1, 3), dtype=np.float32)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the PSNR of two uint8 pictures in dB over all channels; infinite if they agree."""
    difference = first.astype(np.float32) - second.astype(np.float32)
    mse = float(np.mean(np.square(difference, out=difference), dtype=np.float64))
    return float("inf") if mse == 0 else 10 * float(np.log10(255**2 / mse))


def thumbnail(gray: np.ndarray) -> np.ndarray:
    """Returns float32 [16, 16]: the means of parts of a float [h, w] picture."""
    rows = np.linspace(0, gray.shape[0], THUMB + 1).astype(int)
    columns = np.linspace(0, gray.shape[1], THUMB + 1).astype(int)
    # A cumulative sum gives the mean of any box; a picture may be smaller than the thumbnail.
    total = np.zeros((gray.shape[0] + 1, gray.shape[1] + 1))
    total[1:, 1:] = gray.cumsum(0, dtype=np.float64).cumsum(1)
    tops, bottoms = rows[:-1], np.maximum(rows[1:], rows[:-1] + 1)
    lefts, rights = columns[:-1], np.maximum(columns[1:], columns[:-1] + 1)
    sums = (
        total[np.ix_(bottoms, rights)]
        - total[np.ix_(tops, rights)]
        - total[np.ix_(bottoms, lefts)]
        + total[np.ix_(tops, lefts)]
    )
    return (sums / np.outer(bottoms - tops, rights - lefts)).astype(np.float32)


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the correlation of two arrays, 1 for alike; 1 if one of them is flat."""
    one, two = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.mean(one**2) * np.mean(two**2)))
    return 1.0 if scale < 1e-3 else float(np.mean(one * two)) / scale


def difference_hash(gray: np.ndarray) -> int:
    """Returns 64 bits that say where a picture grows brighter from left to right.

    Pictures that look alike have hashes that differ in few bits, whatever their size, their
    format and their brightness (difference hash, dHash, on 9 by 8 means).
    """
    height, width = gray.shape
    rows = np.linspace(0, height, 9).astype(int)
    columns = np.linspace(0, width, 10).astype(int)
    total = np.zeros((height + 1, width + 1))
    total[1:, 1:] = gray.cumsum(0, dtype=np.float64).cumsum(1)
    corners = total[np.ix_(rows, columns)]
    sums = corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]
    areas = np.outer(np.maximum(np.diff(rows), 1), np.maximum(np.diff(columns), 1))
    means = sums / areas
    bits = (means[:, 1:] > means[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def digest(image: np.ndarray) -> str:
    """Returns a checksum of the pixels and the size: equal pictures have equal ones."""
    hashed = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    hashed.update(np.ascontiguousarray(image).data)
    return hashed.hexdigest()


def gradient_energy(gray: np.ndarray) -> float:
    """Returns the mean squared difference of neighbors: more for sharper pictures and for noise."""
    down, right = np.diff(gray, axis=0), np.diff(gray, axis=1)
    return float(np.mean(down**2) + np.mean(right**2))


def softening(blurred: np.ndarray, sharp: np.ndarray) -> float:
    """Returns how many times the gradient energy of the sharp half is that of the blurred one.

    It is the larger of the values at full and at half size: noise in one half shows at full size
    and hardly at half.

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
    """Returns by how many pixels, down and to the right, the blurred half lies off the sharp one.

    The peak of the cross-correlation is found to a pixel by a Fourier transform and to a part of
    one by a transform that is evaluated around the peak alone. Its amplitudes are kept: phase
    correlation, which makes them equal, lifts just those frequencies that motion blur has all but
    taken away and whose sign it has turned, and finds shifts of up to 12 pixels in genuine pairs
    of GoPro where this finds less than one.

    Args:
        blurred: float [h, w].
        sharp: float [h, w].

    Reference:
        Guizar-Sicairos, Thurman and Fienup, Efficient subpixel image registration algorithms,
        2008.
    """
    factor = -(-max(sharp.shape) // _LONGEST)
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
    # Without BLAS, whose threads would wait for each other in every process of a pool.
    fine = np.einsum("ij,jk->ik", np.einsum("ij,jk->ik", down, cross), right).real
    row, column = np.unravel_index(int(np.argmax(fine)), fine.shape)
    return factor * float(rows[row]), factor * float(columns[column])


def _windowed(gray: np.ndarray) -> np.ndarray:
    """Takes away the mean and lets the edges fade, whose jump a transform would see as a cross."""
    rows, columns = (np.hanning(side + 2)[1:-1] for side in gray.shape)
    return (gray - gray.mean()) * np.outer(rows, columns)


# Exponents between which the tone of a pair is looked for.
TONES = (-1.0, 5.0)


def tone(blurred: np.ndarray, sharp: np.ndarray) -> float | None:
    """Returns the exponent of the light in which blurring has kept the mean.

    Averaging values as they are stored keeps their mean: the exponent is 1. Averaging light, the
    2.2nd power of the value, keeps the mean of light: it is 2.2. A camera's own response may give
    more, and what enters and leaves a picture at its edges disturbs a little.

    Args:
        blurred: uint8 [h, w, 3].
        sharp: uint8 [h, w, 3].

    Returns:
        The exponent, from -1 to 5 where it is outside of that, or None where the blur is too weak
        to tell it.
    """
    exponents = np.linspace(*TONES, 61)
    # No zero, whose powers are no numbers.
    levels = np.maximum(np.arange(256), 1) / 255
    means = []
    for half in (blurred, sharp):
        share = np.bincount(half.ravel(), minlength=256) / half.size
        # The mean of the light that an exponent means, as a value again.
        powers = [exponent if abs(exponent) > 1e-6 else 1e-6 for exponent in exponents]
        means.append(np.array([float((share * levels**p).sum()) ** (1 / p) for p in powers]))
    # Blurring takes the extremes away, so it raises the means of low powers and lowers those of
    # high ones: the gap falls as the exponent grows.
    gap = means[0] - means[1]
    if gap.max() - gap.min() < 0.004:
        return None
    crossings = np.flatnonzero((gap[:-1] > 0) & (gap[1:] <= 0))
    if not len(crossings):
        return TONES[1] if gap[-1] > 0 else TONES[0]
    place = int(crossings[0])
    part = gap[place] / (gap[place] - gap[place + 1])
    return float(exponents[place] + part * (exponents[place + 1] - exponents[place]))
