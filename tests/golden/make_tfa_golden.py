"""Writes tfa_0_23_0.npz: outputs of tensorflow-addons for fixed inputs, as a reference.

tensorflow-addons 0.23.0 was the last release; it cannot be imported with TensorFlow 2.16 or newer.
Run it in a separate environment:

    python3.11 -m venv golden
    golden/bin/pip install tensorflow==2.15.1 tensorflow-addons==0.23.0 "numpy<2"
    golden/bin/python tests/golden/make_tfa_golden.py

The file contains inputs, weights and outputs, so that the tests do not depend on a random
generator. It was written on an x86-64 CPU.
"""

import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

OUT = pathlib.Path(__file__).with_name("tfa_0_23_0.npz")

GAUSSIANS = [(3, 1.0), (7, 0.8), (11, 1.5), (19, 3.0)]
INSTANCE_NORMS = [(1e-3, True), (1e-5, True), (1e-3, False)]
SPECTRAL_NORMS = [("conv", 1), ("conv", 3), ("dense", 1)]
SPECTRAL_CALLS = 3


def gaussian_values(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Blurs two images with several kernels and reflected borders."""
    images = rng.random((2, 24, 21, 3), dtype=np.float32)
    values = {"gaussian/images": images}
    for size, sigma in GAUSSIANS:
        blurred = tfa.image.gaussian_filter2d(images, (size, size), sigma, padding="REFLECT")
        values[f"gaussian/{size}/{sigma}"] = blurred.numpy()
    return values


def instance_norm_values(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Normalizes features whose channels have different means and standard deviations."""
    x = rng.standard_normal((3, 7, 6, 5)).astype(np.float32)
    x = x * np.float32([0.1, 1, 2, 5, 10]) + np.float32([0, 1, -3, 7, 20])
    gamma = rng.uniform(0.5, 2, 5).astype(np.float32)
    beta = rng.standard_normal(5).astype(np.float32)
    values = {"instance/x": x, "instance/gamma": gamma, "instance/beta": beta}
    for epsilon, affine in INSTANCE_NORMS:
        layer = tfa.layers.InstanceNormalization(epsilon=epsilon, center=affine, scale=affine)
        layer.build(x.shape)
        if affine:
            layer.set_weights([gamma, beta])
        inputs = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = layer(inputs)
            loss = tf.reduce_sum(y * y * y)
        key = f"instance/{epsilon}/{'affine' if affine else 'plain'}"
        values[f"{key}/y"] = y.numpy()
        values[f"{key}/gradient"] = tape.gradient(loss, inputs).numpy()
    return values


def spectral_norm_values(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Calls layers in training several times; each call normalizes the kernel again."""
    values = {}
    for kind, iterations in SPECTRAL_NORMS:
        key = f"spectral/{kind}/{iterations}"
        if kind == "conv":
            x = rng.standard_normal((2, 6, 6, 4)).astype(np.float32)
            inner = tf.keras.layers.Conv2D(6, 3, padding="same")
        else:
            x = rng.standard_normal((5, 8)).astype(np.float32)
            inner = tf.keras.layers.Dense(6)
        layer = tfa.layers.SpectralNormalization(inner, power_iterations=iterations)
        layer.build(x.shape)
        kernel = rng.standard_normal(inner.kernel.shape).astype(np.float32)
        bias = rng.standard_normal(6).astype(np.float32)
        u = (0.02 * rng.standard_normal((1, 6))).astype(np.float32)
        inner.kernel.assign(kernel)
        inner.bias.assign(bias)
        layer.u.assign(u)
        values |= {f"{key}/x": x, f"{key}/kernel": kernel, f"{key}/bias": bias, f"{key}/u": u}
        for call in range(1, SPECTRAL_CALLS + 1):
            values[f"{key}/y{call}"] = layer(x, training=True).numpy()
            values[f"{key}/kernel{call}"] = inner.kernel.numpy()
            values[f"{key}/u{call}"] = layer.u.numpy()
        values[f"{key}/y_inference"] = layer(x, training=False).numpy()
    return values


def main() -> None:
    """Computes all values and writes the file next to this script."""
    rng = np.random.default_rng(20230)
    values = gaussian_values(rng) | instance_norm_values(rng) | spectral_norm_values(rng)
    versions = [f"tensorflow {tf.__version__}", f"tensorflow-addons {tfa.__version__}"]
    np.savez_compressed(OUT, versions=np.array(versions), **values)
    print(f"{OUT}: {len(values)} arrays, {OUT.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
