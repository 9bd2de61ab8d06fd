"""The Dockerfile agrees with the project; nothing here builds it."""

import configparser
import fnmatch
import importlib
import json
import re

import pytest

import tfdeblur


@pytest.fixture
def lines(repository):
    """The instructions and their arguments; continued lines are joined."""
    text = (repository / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]


def of(lines, instruction):
    return [arguments for name, arguments in lines if name == instruction]


def test_images_have_a_version_and_the_server_runs_without_root(lines):
    assert all(re.match(r"[\w./-]+:\d[\w.-]*( AS \w+)?$", image) for image in of(lines, "FROM"))
    last = max(place for place, (name, _) in enumerate(lines) if name == "FROM")
    (user,) = of(lines[last:], "USER")
    assert user.isdigit() and int(user) > 0
    assert not re.search(r"(?i)password|secret|token", " ".join(a for _, a in lines))


def test_copied_files_exist_and_are_in_the_context(lines, repository):
    ignore = (repository / ".dockerignore").read_text(encoding="utf-8").split()
    kept = [pattern[1:] for pattern in ignore if pattern.startswith("!")]
    assert "*" in ignore
    copied = [word for a in of(lines, "COPY") if "--from" not in a for word in a.split()[:-1]]
    assert copied
    for name in copied:
        assert (repository / name).exists(), name
        assert any(fnmatch.fnmatch(name, pattern) for pattern in kept), name


def test_extras_exist(lines, repository):
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(repository / "setup.cfg", encoding="utf-8")
    (install,) = [line for line in of(lines, "RUN") if "pip install" in line]
    extras = re.search(r"\.\[(.*?)\]", install)[1].split(",")
    (device,) = of(lines, "ARG")
    for extra in (*extras[1:], device.removeprefix("DEVICE="), "gpu"):
        assert setup.has_option("options.extras_require", extra), extra
    assert extras[0] == "${DEVICE}"


def test_command_is_one_of_the_package_with_a_preset(lines):
    (entry,), (command,) = of(lines, "ENTRYPOINT"), of(lines, "CMD")
    assert json.loads(entry) == ["python", "-m"]
    module, *flags = json.loads(command)
    settings = importlib.import_module(f"{module}.__main__").ServeConfig
    values = dict(zip(flags[::2], flags[1::2], strict=True))
    assert {name.removeprefix("--") for name in values} <= set(settings.__dataclass_fields__)
    assert settings().model in tfdeblur.list_presets()
    (port,) = of(lines, "EXPOSE")
    assert int(port) == settings().port
    assert f":{port}/health" in of(lines, "HEALTHCHECK")[0]
