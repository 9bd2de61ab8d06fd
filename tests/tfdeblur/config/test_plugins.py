"""Modules from outside: imported if the user names them, never because a file does."""

import dataclasses
import sys

import pytest

import tfdeblur
from tfdeblur import config, registry
from tfdeblur.cli.flags import given_plugins
from tfdeblur.config import plugins
from tfdeblur.errors import ConfigError

SOURCE = """
import dataclasses
import tfdeblur

@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    size: int = 3
    \"\"\"how big\"\"\"

@tfdeblur.register("objective", "outside")
def build(options: Options):
    return options.size
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of the plug-ins below."""

    size: int = 3
    """how big"""


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("outside_"):
            del sys.modules[name]


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "outside_module.py"
    path.write_text(SOURCE)
    return str(path)


def tree(**sections):
    return {"workdir": "w", "model": "unet16", "objective": "outside", **sections}


def test_register_adds_a_name_to_its_registry():
    @tfdeblur.register("critic", "outside")
    def build(options: Options):
        """Builds it."""
        return options.size

    assert "outside" in config.CRITICS.names()
    assert config.CRITICS.options("outside") is Options
    assert config.CRITICS.load("outside").build(Options(size=5)) == 5
    assert config.CRITICS.load("outside").__doc__ == "Builds it."
    assert config.CRITICS.origin("outside") == __name__
    assert config.CRITICS.origin("patch_gan") is None


def test_register_again_replaces_it():
    for size in (1, 2):
        tfdeblur.register("critic", "outside")(_builder(size))
    assert config.CRITICS.load("outside").build(Options()) == 2


def test_register_of_a_name_of_another_module_raises_config_error():
    tfdeblur.register("critic", "outside")(_builder(1))
    other = _builder(2)
    other.__module__ = "elsewhere"
    with pytest.raises(ConfigError, match="elsewhere"):
        tfdeblur.register("critic", "outside")(other)


def _builder(size):
    def build(options: Options):
        return size

    return build


@pytest.mark.parametrize(("kind", "name"), [("modle", "x"), ("model", "Not Valid"), ("model", "")])
def test_register_with_an_invalid_kind_or_name_raises_config_error(kind, name):
    with pytest.raises(ConfigError, match=repr(kind if kind != "model" else name)):
        tfdeblur.register(kind, name)


@pytest.mark.parametrize("build", [lambda: None, lambda options: None])
def test_register_without_an_annotation_raises_config_error(build):
    with pytest.raises(ConfigError, match="'outside'"):
        tfdeblur.register("model", "outside")(build)


def test_name_of_the_library_raises_config_error():
    tfdeblur.register("model", "unet16")(_builder(1))
    with pytest.raises(ConfigError, match="'unet16'"):
        tfdeblur.list_models()
    assert "unet16" in tfdeblur.list_models()


def test_register_metric_is_measured_and_may_be_best(monkeypatch):
    from tfdeblur import metrics

    monkeypatch.setattr(metrics, "METRICS", dict(metrics.METRICS))
    metric = dataclasses.replace(metrics.METRICS["mae"], key="outside")
    for _ in range(2):
        tfdeblur.register_metric(metric)
    assert metrics.METRICS["outside"] is metric
    chosen = config.resolve(tree(objective="content", output={"best_metric": "outside"}))
    assert chosen.output.best_metric == "outside"


@pytest.mark.parametrize("key", ["mae", "pixel"])
def test_register_metric_of_the_library_raises_config_error(key):
    from tfdeblur import metrics

    with pytest.raises(ConfigError, match=repr(key)):
        tfdeblur.register_metric(dataclasses.replace(metrics.METRICS["mae"], key=key))


def test_resolve_with_plugins_imports_and_records_them(module):
    chosen = config.resolve(tree(), plugins=[module])
    assert chosen.plugins == (module,)
    assert chosen.objective.section() == {"name": "outside", "size": 3}


def test_resolve_records_the_modules_of_chosen_plug_ins(module, tmp_path):
    sys.path.insert(0, str(tmp_path))
    import outside_module  # noqa: F401  # a user's import registers as well

    assert config.resolve(tree()).plugins == ("outside_module",)


def test_resolve_of_a_file_that_names_modules_does_not_import_them(module):
    with pytest.raises(ConfigError, match=f"--plugins {module}"):
        config.resolve(tree(plugins=[module]))
    assert "outside_module" not in sys.modules


def test_load_by_name_finds_an_importable_module(module, tmp_path):
    sys.path.insert(0, str(tmp_path))
    plugins.load(["outside_module"])
    assert "outside" in tfdeblur.list_objectives()


def test_load_of_a_missing_module_raises_config_error(tmp_path):
    for module in ("outside_absent", "outside_absent.part", str(tmp_path / "absent.py")):
        with pytest.raises(ConfigError, match=module):
            plugins.load([module])


def test_load_of_a_file_with_a_taken_name_raises_config_error(tmp_path):
    path = tmp_path / "json.py"
    path.write_text("")
    with pytest.raises(ConfigError, match=str(path)):
        plugins.load([str(path)])


@pytest.mark.parametrize("body", ["import absent_package", "1 / 0", "x = ("])
def test_load_of_a_module_that_fails_raises_config_error_with_its_file(body, tmp_path):
    path = tmp_path / "outside_broken.py"
    path.write_text(f"\n{body}\n")
    with pytest.raises(ConfigError, match=str(path)):
        plugins.load([str(path)])


def test_given_plugins_are_found_among_other_words():
    words = ["photo.png", "--plugins", "a", "--model", "m", "--plugins=b.c", "--tile", "64"]
    assert given_plugins(words) == ["a", "b.c"]
