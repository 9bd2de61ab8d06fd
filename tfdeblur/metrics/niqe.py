"""NIQE: how far the local statistics of a single image are from those of natural, sharp photos.

The library ships no parameters: the statistics of natural photos are the authors', in a file of
36 means and a matrix of 36x36 covariances.

Reference:
    Mittal et al., "Making a 'Completely Blind' Image Quality Analyzer", IEEE Signal Processing
    Letters 2013, sections II and III. Blocks, window and scales as in the authors' program.
"""

import hashlib
import math
from collections.abc import Mapping

import numpy as np

from tfdeblur.errors import DataError, UserError
from tfdeblur.metrics.metric import Metric

NIQE = Metric(
    "niqe",
    "NIQE",
    "NIQE of the luma of MATLAB's rgb2ycbcr, rounded to integers: blocks of 96x96 without overlap,"
    " at full size and at half size (bicubic, antialiased); Gaussian window 7x7 of sigma 7/6. No"
    " reference image. Lower is better. Values of programs that use another gray differ.",
    higher_is_better=False,
    decimals=3,
)
# It compares no pairs, so that evaluations of pairs do not list it.
METRICS: tuple[Metric, ...] = ()

BLOCK = 96
"""Side of a block in pixels; at least two must fit into an image."""

FILE = "BasicSR's niqe_pris_params.npz"
_NAMES = {
    "mean": ("mu_pris_param", "mu_prisparam"),
    "covariance": ("cov_pris_param", "cov_prisparam"),
}
_FEATURES = 36
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_LUMA = np.array([65.481, 128.553, 24.966]) / 255
_WINDOW = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
_WINDOW /= _WINDOW.sum()


def _cubic(x: np.ndarray) -> np.ndarray:
    """Returns Keys's kernel (a = -0.5) at non-negative distances."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    return np.where(x <= 1, near, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2)


_HALF = _cubic(np.abs(np.arange(-3.5, 4)) / 2)
_HALF /= _HALF.sum()

# Shapes of generalized Gaussians, and the ratio of moments that tells them apart; it rises.
_SHAPES = np.arange(200, 10001) / 1000
_RATIOS = np.array(
    [math.gamma(2 / g) ** 2 / (math.gamma(1 / g) * math.gamma(3 / g)) for g in _SHAPES]
)


class Niqe:
    """The score of NIQE.

    Args:
        path: The file of the parameters, for messages.
        arrays: Its arrays by name, those of `FILE` or of the authors' program.

    Attributes:
        sha256: Digest of the parameters as float64.

    Raises:
        DataError: An array is missing, has another size or non-finite values.
    """

    def __init__(self, path: str, arrays: Mapping[str, np.ndarray]) -> None:
        digest = hashlib.sha256()
        found = {}
        for part, names in _NAMES.items():
            name = next((name for name in names if name in arrays), None)
            if name is None:
                raise DataError(f"{path} holds no {names[0]}, which NIQE requires. Give {FILE}.")
            size = _FEATURES if part == "mean" else _FEATURES**2
            values = np.asarray(arrays[name])
            if values.size != size or values.dtype.kind != "f" or not np.isfinite(values).all():
                raise DataError(f"{path}: {name} is not {size} finite numbers. Give {FILE}.")
            found[part] = np.ascontiguousarray(values, "<f8")
            digest.update(found[part].tobytes())
        self.sha256 = digest.hexdigest()
        self._mean = found["mean"].reshape(_FEATURES)
        self._covariance = found["covariance"].reshape(_FEATURES, _FEATURES)

    def __call__(self, image: np.ndarray) -> float:
        """Returns the score of an image.

        Args:
            image: uint8 [H, W, 3] RGB, or [H, W] gray, which counts as luma.

        Returns:
            The score, not negative. NaN if the image is flat nearly everywhere.

        Raises:
            UserError: Fewer than two blocks of 96x96 pixels fit into the image.
        """
        rows, columns = (size // BLOCK for size in image.shape[:2])
        if rows * columns < 2:
            raise UserError(
                f"has {image.shape[1]}x{image.shape[0]} pixels: NIQE needs two blocks of "
                f"{BLOCK}x{BLOCK}."
            )
        luma = image.astype(np.float64)
        if luma.ndim == 3:
            luma = np.rint(luma @ _LUMA + 16)
        luma = luma[: rows * BLOCK, : columns * BLOCK]
        features = np.concatenate(
            [_features(luma, BLOCK), _features(_halved(luma), BLOCK // 2)], axis=1
        )
        whole = features[np.isfinite(features).all(axis=1)]
        if len(whole) < 2:
            return math.nan
        with np.errstate(invalid="ignore"):
            distance = self._mean - np.nanmean(features, axis=0)
        inverse = np.linalg.pinv((self._covariance + np.cov(whole, rowvar=False)) / 2)
        return math.sqrt(max(float(distance @ inverse @ distance), 0.0))


def _features(luma: np.ndarray, side: int) -> np.ndarray:
    """Returns 18 features of each block, float64 [blocks, 18]."""
    mean = _smoothed(luma)
    deviation = np.sqrt(np.abs(_smoothed(luma**2) - mean**2))
    normalized = (luma - mean) / (deviation + 1)
    rows, columns = (size // side for size in luma.shape)
    blocks = normalized.reshape(rows, side, columns, side).swapaxes(1, 2)
    blocks = blocks.reshape(-1, side, side)
    shape, left, right = _fitted(blocks)
    found = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right = _fitted(blocks * np.roll(blocks, shift, axis=(1, 2)))
        found += [shape, (right - left) * _gamma(2 / shape) / _gamma(1 / shape), left, right]
    return np.stack(found, axis=1)


def _fitted(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fits an asymmetric generalized Gaussian to each block: its shape and both its scales."""
    values = blocks.reshape(len(blocks), -1)
    squares = values**2
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (
            np.sqrt((squares * side).sum(axis=1) / side.sum(axis=1))
            for side in (values < 0, values > 0)
        )
        ratio = left / right
        moments = np.abs(values).mean(axis=1) ** 2 / squares.mean(axis=1)
        moments *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    # The nearest ratio; the first one for flat blocks, as in the authors' program.
    after = np.searchsorted(_RATIOS, moments).clip(1, len(_RATIOS) - 1)
    nearest = after - (moments - _RATIOS[after - 1] <= _RATIOS[after] - moments)
    shape = _SHAPES[np.where(np.isnan(moments), 0, nearest)]
    scale = np.sqrt(_gamma(1 / shape) / _gamma(3 / shape))
    return shape, left * scale, right * scale


def _gamma(values: np.ndarray) -> np.ndarray:
    return np.array([math.gamma(value) for value in values])


def _smoothed(image: np.ndarray) -> np.ndarray:
    """Applies the Gaussian window; borders repeat the last pixel."""
    for axis in (0, 1):
        border = [(3, 3) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(image, border, mode="edge")
        image = sum(
            weight * padded.take(range(start, start + image.shape[axis]), axis)
            for start, weight in enumerate(_WINDOW)
        )
    return image


def _halved(image: np.ndarray) -> np.ndarray:
    """Halves an image of even size as MATLAB's imresize does; borders are mirrored."""
    for axis in (0, 1):
        border = [(3, 3) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(image, border, mode="symmetric")
        count = image.shape[axis] // 2
        image = sum(
            weight * padded.take(range(start, start + 2 * count, 2), axis)
            for start, weight in enumerate(_HALF)
        )
    return image
