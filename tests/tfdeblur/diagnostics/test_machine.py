"""Devices, precision and TPUs."""

import glob

import pytest

from tfdeblur.diagnostics import machine
from tfdeblur.io import subprocesses
from tfdeblur.io.subprocesses import Reply


@pytest.fixture
def no_signs(monkeypatch):
    monkeypatch.setattr(machine, "signs_of_tpu", list)


def test_devices_reports_tensorflow():
    finding = machine.devices()
    assert "TensorFlow" in finding.text


def test_devices_with_an_undetected_gpu_is_a_warning(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(glob, "glob", lambda pattern: ["/dev/nvidia0"])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    finding = machine.devices()
    assert finding.status == "warning" and "tfdeblur[gpu]" in finding.advice


def test_precision_reports_the_policy_of_this_machine():
    assert "--precision auto is" in machine.precision().text


def test_tpu_without_name_and_signs_is_skipped(no_signs, monkeypatch):
    monkeypatch.setattr(subprocesses, "call", None)
    assert machine.tpu(None).status == "skipped"


def test_signs_of_tpu_are_device_files_and_variables(monkeypatch):
    monkeypatch.setattr(glob, "glob", lambda pattern: ["/dev/accel0"] if "accel" in pattern else [])
    monkeypatch.setenv("TPU_NAME", "mine")
    assert machine.signs_of_tpu() == ["/dev/accel0", "$TPU_NAME"]


def test_tpu_that_connects_is_ok(monkeypatch):
    seen = []

    def call(module, request, *, seconds):
        seen.append((module, request))
        return Reply({"summary": "8 x TPU"})

    monkeypatch.setattr(subprocesses, "call", call)
    assert machine.tpu("local").text == "8 x TPU"
    assert seen == [("tfdeblur.diagnostics.machine", {"tpu": "local"})]


@pytest.mark.parametrize(
    ("name", "signs", "reply", "advice"),
    [
        ("local", [], Reply({}, "none"), "TPU VM itself"),
        ("mine", [], Reply({}, "none"), "'mine' is READY"),
        (None, ["/dev/accel0"], Reply({}, "none"), "Another process"),
        (None, ["/dev/accel0"], Reply({}, "late", timed_out=True), "on worker 0"),
    ],
)
def test_tpu_with_an_error_is_wrong_with_matching_advice(monkeypatch, name, signs, reply, advice):
    monkeypatch.setattr(machine, "signs_of_tpu", lambda: signs)
    monkeypatch.setattr(subprocesses, "call", lambda *args, **options: reply)
    finding = machine.tpu(name)
    assert finding.status == "wrong"
    assert finding.text == reply.error and advice in finding.advice


@pytest.mark.slow
def test_tpu_on_a_machine_without_one_is_wrong(no_signs):
    finding = machine.tpu("local")
    assert finding.status == "wrong" and "no TPU" in finding.text
