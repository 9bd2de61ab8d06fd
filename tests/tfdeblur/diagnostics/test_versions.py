"""Incompatible packages are reported with a remedy."""

import sys

import pytest

from tfdeblur.diagnostics import platforms, versions


def named(found, name):
    return next(finding for finding in found if finding.name == name)


def test_findings_in_this_environment_are_ok():
    found = versions.findings()
    assert {finding.status for finding in found} == {"ok"}
    assert "keras" in named(found, "packages").text


def test_findings_without_tensorflow_are_wrong():
    finding = named(versions.findings({"keras": "3.15.1"}), "TensorFlow")
    assert finding.status == "wrong" and platforms.adding_tensorflow() in finding.advice
    with_jax = named(versions.findings({"keras": "3.15.1", "jax": "0.10.2"}), "TensorFlow")
    assert with_jax.status == "warning"


def test_another_build_replaces_those_that_are_installed():
    packages = {"tensorflow-cpu": "2.21.0", "keras": "3"}
    install = 'pip install "tfdeblur[gpu]"'
    assert versions.replacing(install, packages) == f"pip uninstall -y tensorflow-cpu; {install}"
    assert versions.replacing(install, {"keras": "3"}) == install
    for_jax = 'pip install "tfdeblur[jax-tpu]"'
    assert versions.replacing(for_jax, packages) == for_jax
    both = {**packages, "tensorflow-tpu": "2.19.1"}
    assert versions.replacing(for_jax, both) == f"pip uninstall -y tensorflow-tpu; {for_jax}"
    assert versions.replacing('pip install "tfdeblur"', packages) == 'pip install "tfdeblur"'


def test_findings_with_two_builds_of_tensorflow_are_wrong():
    both = {"tensorflow-cpu": "2.21.0", "tensorflow-tpu": "2.19.1"}
    finding = named(versions.findings(both), "TensorFlow")
    assert finding.status == "wrong"
    assert "pip uninstall -y tensorflow-cpu tensorflow-tpu" in finding.advice


@pytest.mark.parametrize(
    ("build", "libtpu", "status"),
    [("2.20.0", "0.0.43", "wrong"), ("2.20.0", "0.0.17", "ok"), ("2.19.1", "0.0.43", "ok")],
)
def test_findings_with_a_pair_that_cannot_work_are_wrong(build, libtpu, status):
    found = versions.findings({"tensorflow-tpu": build, "libtpu": libtpu})
    pairs = [finding for finding in found if f"libtpu {libtpu}: " in finding.text]
    assert [finding.status for finding in pairs] == (["wrong"] if status == "wrong" else [])


def test_findings_with_tensorflow_addons_are_a_warning():
    packages = {"tensorflow": "2.21.0", "tensorflow-addons": "0.23.0"}
    assert named(versions.findings(packages), "tensorflow-addons").status == "warning"


@pytest.mark.parametrize(("backend", "status"), [("jax", "warning"), ("torch", "wrong")])
def test_findings_name_another_keras_backend(monkeypatch, backend, status):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    finding = named(versions.findings(), "Keras")
    assert finding.status == status and f"{backend!r}" in finding.text


@pytest.mark.parametrize(("python", "status"), [((3, 10), "wrong"), ((3, 99), "warning")])
def test_findings_with_an_untested_python_name_the_tested_ones(monkeypatch, python, status):
    monkeypatch.setattr(sys, "version_info", (*python, 0))
    finding = named(versions.findings(), "Python")
    assert finding.status == status and "3.11 to 3.13" in finding.advice


def test_unmet_returns_outdated_and_missing_requirements_only():
    packages = {"numpy": "1.20.0", "ml-dtypes": "0.5.0"}
    requirements = [
        "numpy>=1.26",
        "ml_dtypes<1.0,>=0.5",
        "absent",
        "nvidia-cublas>=12; extra == 'and-cuda'",
        "colorama; sys_platform == 'none'",
    ]
    assert versions.unmet(requirements, packages) == [
        "requires numpy>=1.26, found 1.20.0",
        "requires absent, which is not installed",
    ]


def test_findings_with_an_outdated_package_are_wrong():
    packages = {**versions.installed(), "numpy": "1.0"}
    finding = named(versions.findings(packages), "requirements")
    assert finding.status == "wrong" and "found 1.0" in finding.text
