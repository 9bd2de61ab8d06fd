"""Devices, number formats, and a TPU that is not there."""

import glob

import pytest

from tfdeblur.diagnostics import machine
from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Answer


@pytest.fixture
def no_signs(monkeypatch):
    monkeypatch.setattr(machine, "signs_of_tpu", list)


def test_devices_are_named():
    finding = machine.devices()
    assert "TensorFlow" in finding.text


def test_a_gpu_that_tensorflow_does_not_see(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(glob, "glob", lambda pattern: ["/dev/nvidia0"])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    finding = machine.devices()
    assert finding.status == "warning" and "tfdeblur[gpu]" in finding.advice


def test_the_precision_of_this_machine():
    assert "--precision auto means" in machine.precision().text


def test_no_tpu_is_looked_for_without_signs(no_signs, monkeypatch):
    monkeypatch.setattr(subprocesses, "ask", None)
    assert machine.tpu(None).status == "skipped"


def test_signs_are_files_and_variables(monkeypatch):
    monkeypatch.setattr(glob, "glob", lambda pattern: ["/dev/accel0"] if "accel" in pattern else [])
    monkeypatch.setenv("TPU_NAME", "mine")
    assert machine.signs_of_tpu() == ["/dev/accel0", "$TPU_NAME"]


def test_a_tpu_that_answers(monkeypatch):
    seen = []

    def ask(module, request, *, seconds):
        seen.append((module, request))
        return Answer({"summary": "8 x TPU"})

    monkeypatch.setattr(subprocesses, "ask", ask)
    assert machine.tpu("local").text == "8 x TPU"
    assert seen == [("tfdeblur.diagnostics.machine", {"tpu": "local"})]


@pytest.mark.parametrize(
    ("name", "signs", "answer", "advice"),
    [
        ("local", [], Answer({}, "none"), "TPU VM itself"),
        ("mine", [], Answer({}, "none"), "'mine' is READY"),
        (None, ["/dev/accel0"], Answer({}, "none"), "Another process"),
        (None, ["/dev/accel0"], Answer({}, "late", timed_out=True), "on worker 0"),
    ],
)
def test_a_tpu_that_does_not(monkeypatch, name, signs, answer, advice):
    monkeypatch.setattr(machine, "signs_of_tpu", lambda: signs)
    monkeypatch.setattr(subprocesses, "ask", lambda *args, **options: answer)
    finding = machine.tpu(name)
    assert finding.status == "wrong"
    assert finding.text == answer.error and advice in finding.advice


@pytest.mark.slow
def test_reaching_for_a_tpu_in_a_program_of_its_own(no_signs):
    finding = machine.tpu("local")
    assert finding.status == "wrong" and "no TPU" in finding.text
