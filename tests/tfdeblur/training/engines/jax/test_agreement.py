"""The JAX engine computes the steps of the TensorFlow engine, on one device and on several."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.engine_steps import Case
from tests.helpers.tiny_models import TINY

pytest.importorskip("jax")

DEVICES = (1, 2, 8)

# With the penalty, a step of this toy critic magnifies differences 200 times at larger rates.
SLOW = {"optimizer": "sgd", "sections": {"optimizer": {"learning_rate": 1e-6}}}
CASES = [
    Case("content"),
    Case("sgd", optimizer="sgd"),
    Case("batch_norm", toy={"batch_norm": True}),
    Case("dropout", toy={"dropout": 0.5}),
    Case(
        "average_and_clip",
        sections={"training": {"ema_decay": 0.9}, "optimizer": {"clip_norm": 0.1}},
    ),
    Case("micro_batches", plan={"micro_batches": 2}),
    Case("backbone", frozen="3 steps"),
    Case("skipped_step", plan={"skip_nonfinite": True}, black=2),
    Case("wgan_gp", "wgan_gp", **SLOW),
    Case("wgan_gp_micro_batches", "wgan_gp", plan={"micro_batches": 2}, **SLOW),
    Case("wgan_gp_fresh_batches", "wgan_gp", plan={"fresh_critic_batches": True}, **SLOW),
    Case("wgan_gp_literal_passes", "wgan_gp", plan={"share_generator_pass": False}, **SLOW),
    Case("wgan", "wgan"),
    Case("gan", "gan"),
    Case("critic_with_batch_norm", "gan", critic={"layers": 1, "width": 4, "norm": "batch"}),
    Case("critic_with_spectral_norm", "gan", critic={"layers": 1, "width": 4, "norm": "spectral"}),
    Case("lsgan", "lsgan"),
    Case("ragan_ls", "ragan_ls"),
    *(
        Case(name, objective, options, name, {**TINY[name], "dropout": 0.0}, size=32, **more)
        if name == "mimo_unet"  # whose masks of whole channels differ
        else Case(name, objective, options, name, TINY[name], size=32, **more)
        for name, objective, options, more in (
            ("nafnet", "content", {"losses": {"negative_psnr": 1.0}}, {"optimizer": "sgd"}),
            ("mimo_unet", "content", {"losses": {"mae": 1.0, "fft": 0.1}}, {"optimizer": "sgd"}),
            ("deblurgan", "wgan_gp", {"losses": {"mse": 1.0}}, SLOW),
            ("rednet30", "wgan_gp", {"losses": {"mse": 1.0}}, SLOW),
        )
    ),
]

# Adam turns the rounding of a derivative that is zero into steps of full size: of biases before a
# batch norm, and of the bias of scores that are only compared.
WITHOUT_EFFECT = {
    "batch_norm": ("conv2d/bias",),
    "critic_with_batch_norm": ("block1_conv/bias", "block2_conv/bias"),
    "ragan_ls": ("scores/bias",),
    "rednet30": ("conv/bias",),
}

# The gradient of an absolute difference is its sign, which rounding changes where it is near zero.
TOLERANCES = {"mimo_unet": 3e-4}


# These run in continuous integration, all in `make test-long`.
FEW = ("content", "batch_norm", "micro_batches", "wgan_gp")
FEW_DEVICES = (1, 2)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, repository):
    """Runs all cases under both engines; returns their arrays by case, engine and devices."""
    return _run(CASES, DEVICES, tmp_path_factory, repository)


@pytest.fixture(scope="module")
def few_outcomes(tmp_path_factory, repository):
    """Runs a few cases."""
    cases = [case for case in CASES if case.name in FEW]
    return _run(cases, FEW_DEVICES, tmp_path_factory, repository)


def _run(chosen, counts, tmp_path_factory, repository):
    folder = tmp_path_factory.mktemp("steps")
    request = folder / "request.json"
    for backend, devices in (("tensorflow", 1), *(("jax", count) for count in counts)):
        cases = [dataclasses.asdict(case) for case in chosen]
        request.write_text(json.dumps({"cases": cases, "folder": str(folder), "devices": devices}))
        subprocess.run(
            [sys.executable, "-m", "tests.helpers.engine_steps", str(request)],
            env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=repository,
            check=True,
        )
    return lambda case, engine: dict(np.load(folder / f"{case}-{engine}.npz"))


@pytest.mark.long
@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("case", [case.name for case in CASES])
def test_five_steps_equal_those_of_tensorflow(outcomes, case, devices):
    assert_equal(outcomes, case, devices)


@pytest.mark.slow
@pytest.mark.parametrize("devices", FEW_DEVICES)
@pytest.mark.parametrize("case", FEW)
def test_five_steps_of_a_few_cases_equal_those_of_tensorflow(few_outcomes, case, devices):
    assert_equal(few_outcomes, case, devices)


def assert_equal(outcomes, case, devices):
    # Five steps magnify the rounding of the first.
    tolerance = TOLERANCES.get(case, 1e-4)
    expected, found = outcomes(case, "tensorflow1"), outcomes(case, f"jax{devices}")
    assert expected.keys() == found.keys()
    largest = {name: np.abs(array).max(initial=1e-6) for name, array in expected.items()}
    steepest = max((size for name, size in largest.items() if is_gradient(name)), default=0.0)
    for name, array in expected.items():
        if any(part in name for part in WITHOUT_EFFECT.get(case, ())):
            continue
        # Some gradients are zero up to rounding, such as those of biases before a norm.
        scale = steepest if is_gradient(name) else largest[name]
        np.testing.assert_allclose(found[name], array, atol=tolerance * scale, rtol=0, err_msg=name)
        if name.startswith("scalars/"):
            np.testing.assert_allclose(found[name][0], array[0], atol=1e-5 * scale, err_msg=name)


def is_gradient(name):
    return name.startswith("gradients/")


@pytest.mark.slow
def test_gradients_of_sgd_are_compared(few_outcomes):
    """Or `assert_equal` would compare none."""
    found = few_outcomes("wgan_gp", "tensorflow1")
    gradients = {name for name in found if is_gradient(name)}
    weights = {name for name in found if name.startswith("state/generator/")}
    assert gradients == {name.replace("state/generator", "gradients") for name in weights}


@pytest.mark.long
def test_step_with_nonfinite_loss_is_skipped(outcomes):
    assert outcomes("skipped_step", "jax1")["skipped"].tolist() == [0, 0, 1, 0, 0]
