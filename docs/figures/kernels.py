"""Figures of the random-trajectory kernels: what they look like, how large and how straight.

    python docs/figures/kernels.py --levin /data/levin/gt

`kernels_distribution.png` shows, for each strength, how far kernels reach and how elongated they
are. `kernels.png` shows ten of them and, with `--levin`, a folder of `kernel1.png` to
`kernel8.png`, eight kernels of a real shaking hand below.

Support is the longer side of the smallest box that holds every pixel of at least a twentieth of
the kernel's peak; elongation is the eccentricity of the ellipse with the kernel's second moments, 0
for a disc and 1 for a straight line.

Reference: Boracchi and Foi, Modeling the Performance of Image Restoration from Motion Blur, 2012,
section III; Levin, Weiss, Durand and Freeman, Understanding and Evaluating Blind Deconvolution
Algorithms, 2009, section 4 (the kernels of a real hand).
"""

import argparse
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from tfdeblur.degradation import kernels

STRENGTHS = (0.25, 0.5, 1.0)
LENGTH = 60.0
# Of the peak: what is fainter than this is not seen in the blurred picture.
FAINT = 0.05
SHOWN, LEVIN, SIDE = 10, 8, 33
COLORS = ("#4477aa", "#ccbb44", "#aa3377")


def draw(rng: np.random.Generator, strength: float, count: int) -> np.ndarray:
    """Returns `count` kernels as `data_prep` draws them: float32 [count, k, k]."""
    length = strength * LENGTH
    canvas = 2 * int(np.ceil(length / 2)) + 4
    paths = kernels.trajectories(kernels.draw_trajectories(rng, count), length)
    exposures = rng.choice(kernels.EXPOSURES, count)
    return np.stack(
        [kernels.path_kernel(p, canvas, float(e)) for p, e in zip(paths, exposures, strict=True)]
    )


def support(kernel: np.ndarray) -> int:
    """Returns the longer side of the box around all that is not faint, in pixels."""
    rows, columns = np.nonzero(kernel >= FAINT * kernel.max())
    return int(max(np.ptp(rows), np.ptp(columns))) + 1


def elongation(kernel: np.ndarray) -> float:
    """Returns the eccentricity of a kernel's ellipse of inertia, in [0, 1]."""
    weights = kernel.astype(np.float64) / kernel.sum()
    places = np.indices(kernel.shape).reshape(2, -1)
    offsets = places - (places @ weights.ravel())[:, None]
    # A pixel is a square, not a point: a twelfth of a square pixel each way.
    moments = (offsets * weights.ravel()) @ offsets.T + np.eye(2) / 12
    small, large = np.linalg.eigvalsh(moments)
    return float(np.sqrt(1 - small / large))


def crop(kernel: np.ndarray, side: int) -> np.ndarray:
    """Returns the square of `side` pixels around a kernel's centroid, brightest pixel 1."""
    padded = np.pad(kernel, side)
    places = np.indices(padded.shape).reshape(2, -1)
    top, left = np.rint(places @ (padded / padded.sum()).ravel()).astype(int) - side // 2
    cut = padded[top : top + side, left : left + side]
    return cut / cut.max()


def plot_distribution(path: pathlib.Path, count: int, levin: list[np.ndarray]) -> None:
    """Draws the histograms of support and elongation, a mark for each real kernel, and means."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for strength, color in zip(STRENGTHS, COLORS, strict=True):
        drawn = draw(np.random.default_rng(0), strength, count)
        sizes = [support(kernel) for kernel in drawn]
        shapes = [elongation(kernel) for kernel in drawn]
        label = f"strength {strength:g}: paths of {strength * LENGTH:g} px"
        style = {"histtype": "step", "linewidth": 1.6, "color": color, "label": label}
        left.hist(sizes, bins=np.arange(0.5, 62, 2), density=True, **style)
        right.hist(shapes, bins=np.linspace(0, 1, 41), density=True, **style)
        print(
            f"strength {strength:g}, {count} kernels: support median {np.median(sizes):.0f}, "
            f"5 to 95 % {np.percentile(sizes, 5):.0f} to {np.percentile(sizes, 95):.0f} px; "
            f"elongation median {np.median(shapes):.2f}, "
            f"5 to 95 % {np.percentile(shapes, 5):.2f} to {np.percentile(shapes, 95):.2f}"
        )
    if levin:
        print("Levin:", [(support(kernel), round(elongation(kernel), 2)) for kernel in levin])
        marks = {"color": "black", "marker": "|", "markersize": 12, "linestyle": "none"}
        for axes, values in (
            (left, [support(kernel) for kernel in levin]),
            (right, [elongation(kernel) for kernel in levin]),
        ):
            axes.plot(values, np.zeros(len(values)), label="Levin et al. 2009", **marks)
    left.set(xlabel="support, pixels", ylabel="density", yscale="log")
    right.set(xlabel="elongation (0 round, 1 straight)")
    left.legend(fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def plot_kernels(path: pathlib.Path, rows: list[tuple[str, list[np.ndarray]]]) -> None:
    """Draws rows of kernels, each row with its name above it."""
    columns = max(len(shown) for _, shown in rows)
    figure = plt.figure(figsize=(columns, 1.25 * len(rows)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (name, shown) in zip(parts, rows, strict=True):
        part.suptitle(name, x=0.005, horizontalalignment="left", fontsize=8)
        for axes in (grid := part.subplots(1, columns)):
            axes.axis("off")
        for axes, kernel in zip(grid, shown, strict=False):
            axes.imshow(crop(kernel, SIDE), cmap="magma", interpolation="nearest")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    """Draws the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--levin", type=pathlib.Path, help="folder of kernel1.png to kernel8.png")
    parser.add_argument("--count", type=int, default=2000, help="kernels of each strength")
    arguments = parser.parse_args()
    levin = []
    if arguments.levin:
        for number in range(1, LEVIN + 1):
            with Image.open(arguments.levin / f"kernel{number}.png") as picture:
                levin.append(np.asarray(picture.convert("L"), np.float32))
    plot_distribution(arguments.out / "kernels_distribution.png", arguments.count, levin)
    # Half the strength reaches about as far as Levin's kernels; whole exposures, as theirs are.
    paths = kernels.trajectories(
        kernels.draw_trajectories(np.random.default_rng(4), SHOWN), 0.5 * LENGTH
    )
    ours = [kernels.path_kernel(path, 2 * SIDE) for path in paths]
    rows = [(f"random trajectories, {0.5 * LENGTH:g} pixels long", ours)]
    if levin:
        rows.append(("a real hand: the kernels of Levin et al. 2009", levin))
    plot_kernels(arguments.out / "kernels.png", rows)


if __name__ == "__main__":
    main()
