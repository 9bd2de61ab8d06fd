"""The engine, its devices, TPU and precision, as its own process reports them."""

import pytest

from tfdeblur.diagnostics import machine, platforms, versions
from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Reply

VALUES = {
    "engine": "TensorFlow",
    "summary": "2 CPU cores",
    "policy": "float32",
    "gpus": 0,
    "cuda": False,
}


@pytest.fixture
def platform(monkeypatch):
    """A machine without TPU and GPU whose engine starts; returns replies by the requested TPU."""
    replies = {None: Reply(VALUES)}

    def call(module, request, **options):
        assert module == "tfdeblur.diagnostics.machine" and options["environment"]
        return replies[request["tpu"]]

    monkeypatch.setattr(subprocesses, "call", call)
    monkeypatch.setattr(platforms, "signs_of_tpu", list)
    monkeypatch.setattr(platforms, "has_gpu", lambda: False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    return replies


def found(tpu=None):
    return {finding.name: finding for finding in machine.findings(tpu)}


def test_findings_without_accelerator_are_ok(platform):
    assert [finding.status for finding in found().values()] == ["skipped", "ok", "ok"]
    assert "--precision auto is float32" in found()["precision"].text


def test_findings_with_an_undetected_gpu_are_a_warning(platform, monkeypatch):
    monkeypatch.setattr(platforms, "has_gpu", lambda: True)
    monkeypatch.setattr(versions, "installed", lambda: {"tensorflow-cpu": "2.21.0"})
    assert found()["devices"].status == "warning"
    assert "tfdeblur[gpu]" in found()["devices"].advice
    # Of an environment for JAX, TensorFlow's build is not replaced.
    monkeypatch.setattr(versions, "installed", lambda: {"tensorflow-cpu": "2.21.0", "jax": "1"})
    assert "--engine jax" in found()["devices"].advice
    assert "pip" not in found()["devices"].advice
    platform[None] = Reply({**VALUES, "engine": "JAX", "cuda": None})
    assert "tfdeblur[jax-gpu]" in found()["devices"].advice
    platform[None] = Reply({**VALUES, "gpus": 1})
    assert found()["devices"].status == "ok"


def test_findings_with_an_engine_that_does_not_start_are_wrong(platform):
    platform[None] = Reply({}, "the subprocess was killed by SIGABRT")
    assert found()["devices"].text == platform[None].error
    assert "precision" not in found()


def test_tpu_that_connects_is_ok_and_starts_once(platform, monkeypatch):
    monkeypatch.setattr(platforms, "signs_of_tpu", lambda: ["/dev/accel0"])
    platform["local"] = Reply({**VALUES, "summary": "8 x TPU"})
    del platform[None]
    assert {finding.status for finding in found().values()} == {"ok"}
    assert found()["TPU"].text == found("local")["devices"].text == "8 x TPU"


@pytest.mark.parametrize(
    ("name", "signs", "packages", "reply", "advice"),
    [
        ("local", [], {}, Reply({}, "none"), "TPU VM itself"),
        ("mine", [], {}, Reply({}, "none"), "'mine' is READY"),
        (None, ["/dev/vfio/0"], {}, Reply({}, "none"), "pip install"),
        (None, ["/dev/accel0"], {"libtpu": "1"}, Reply({}, "none"), "Another process"),
        (None, ["/dev/accel0"], {"libtpu": "1"}, Reply({}, "late", timed_out=True), "on worker 0"),
    ],
)
def test_tpu_with_an_error_is_wrong_with_matching_advice(
    platform, monkeypatch, name, signs, packages, reply, advice
):
    monkeypatch.setattr(platforms, "signs_of_tpu", lambda: signs)
    monkeypatch.setattr(versions, "installed", lambda: packages)
    platform[name or "local"] = reply
    finding = found(name)["TPU"]
    assert finding.status == "wrong"
    assert finding.text == reply.error and advice in finding.advice
    # What is installed is not to be installed again.
    assert ("pip install" in finding.advice) == (advice == "pip install")
    assert found(name)["devices"].status == "ok"


JAX = {"jax": "0.10.2", "libtpu": "0.0.42.1"}


@pytest.mark.parametrize(
    ("packages", "chosen", "jax"),
    [
        (JAX, None, True),
        ({**JAX, "tensorflow-cpu": "2.21.0"}, None, True),
        ({**JAX, "tensorflow-tpu": "2.19.1"}, None, False),
        ({**JAX, "tensorflow-tpu": "2.19.1"}, "jax", True),
        ({**JAX, "tensorflow-cpu": "2.21.0"}, "tensorflow", False),
        ({"tensorflow-tpu": "2.19.1", "libtpu": "0.0.10"}, None, False),
    ],
)
def test_advice_on_pods_is_that_of_the_engine(platform, monkeypatch, packages, chosen, jax):
    monkeypatch.setattr(platforms, "signs_of_tpu", lambda: ["/dev/vfio/0"])
    monkeypatch.setattr(versions, "installed", lambda: packages)
    monkeypatch.setenv("KERAS_BACKEND", chosen or "")
    platform["local"] = platform["mine"] = Reply({}, "late", timed_out=True)
    assert ("TPU_LOAD_LIBRARY" in found()["TPU"].advice) == (not jax)
    assert ("every host" in found()["TPU"].advice) == jax
    assert ("'mine' is READY" in found("mine")["TPU"].advice) == (not jax)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_findings_on_this_machine(monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr(platforms, "signs_of_tpu", list)
    names = found("local")
    assert names["TPU"].status == "wrong" and "no TPU" in names["TPU"].text
    assert names["devices"].status == "ok" and names["precision"].status == "ok"
