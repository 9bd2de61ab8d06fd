"""Packages that do not go together are named, with what to do."""

import sys

import pytest

from tfdeblur.diagnostics import versions


def named(found, name):
    return next(finding for finding in found if finding.name == name)


def test_this_environment_is_healthy():
    found = versions.findings()
    assert {finding.status for finding in found} == {"ok"}
    assert "keras" in named(found, "packages").text


def test_no_tensorflow():
    finding = named(versions.findings({"keras": "3.15.1"}), "TensorFlow")
    assert finding.status == "wrong" and "tfdeblur[cpu]" in finding.advice


def test_two_builds_of_tensorflow():
    both = {"tensorflow-cpu": "2.21.0", "tensorflow-tpu": "2.19.1"}
    finding = named(versions.findings(both), "TensorFlow")
    assert finding.status == "wrong"
    assert "pip uninstall -y tensorflow-cpu tensorflow-tpu" in finding.advice


def test_tensorflow_addons():
    packages = {"tensorflow": "2.21.0", "tensorflow-addons": "0.23.0"}
    assert named(versions.findings(packages), "tensorflow-addons").status == "warning"


def test_another_backend(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    finding = named(versions.findings(), "Keras")
    assert finding.status == "wrong" and "'jax'" in finding.text


@pytest.mark.parametrize(("python", "status"), [((3, 10), "wrong"), ((3, 99), "warning")])
def test_pythons_that_were_not_tested(monkeypatch, python, status):
    monkeypatch.setattr(sys, "version_info", (*python, 0))
    finding = named(versions.findings(), "Python")
    assert finding.status == status and "3.11 to 3.13" in finding.advice


def test_requirements_that_are_not_met():
    packages = {"numpy": "1.20.0", "ml-dtypes": "0.5.0"}
    wanted = [
        "numpy>=1.26",
        "ml_dtypes<1.0,>=0.5",
        "absent",
        "nvidia-cublas>=12; extra == 'and-cuda'",
        "colorama; sys_platform == 'none'",
    ]
    assert versions.unmet(wanted, packages) == [
        "needs numpy>=1.26, found 1.20.0",
        "needs absent, which is not installed",
    ]


def test_a_package_that_is_too_old_is_wrong():
    packages = {**versions.installed(), "numpy": "1.0"}
    finding = named(versions.findings(packages), "requirements")
    assert finding.status == "wrong" and "found 1.0" in finding.text
