"""The repository keeps its own promises: documents, packaging and sources agree."""

import configparser
import dataclasses
import importlib
import importlib.metadata
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import tfdeblur
from data_prep import build
from tfdeblur.config import recipes

SKIPPED_FOLDERS = {
    "build",
    "quickstart",
    "__pycache__",
    "node_modules",
}
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")


def sources(root: pathlib.Path, *endings: str) -> list[pathlib.Path]:
    """Files of the project: nothing hidden but `.ci`, nothing that was installed or generated."""
    found = []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts[:-1])
        skipped = any(part in SKIPPED_FOLDERS or part.endswith(".egg-info") for part in parts)
        if path.is_file() and not hidden and not skipped and path.name.endswith(endings):
            found.append(path)
    return found


def setup_cfg(root: pathlib.Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(root / "setup.cfg", encoding="utf-8")
    return parser


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def requirement_lines(text: str) -> list[Requirement]:
    return [Requirement(line) for line in lines_of(text) if not line.startswith("#")]


def commands(document: str) -> list[list[str]]:
    """Words of the `python -m` and `make` lines in a document's fenced blocks."""
    found = []
    for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", document, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.split(" #")[0].strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if line.startswith(("python -m ", "make ")):
                found.append(shlex.split(line))
    return found


def test_version_is_stated_once_and_is_in_the_changelog(repository: pathlib.Path) -> None:
    metadata = setup_cfg(repository)["metadata"]
    assert metadata["version"] == "attr: tfdeblur._version.__version__"
    changelog = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{tfdeblur.__version__}]" in changelog


def test_citation_is_of_this_version(repository: pathlib.Path) -> None:
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == tfdeblur.__version__
    assert citation["license"] == setup_cfg(repository)["metadata"]["license"]
    assert citation["cff-version"] and citation["message"] and citation["authors"]


def test_installed_metadata_is_of_this_version() -> None:
    try:
        installed = importlib.metadata.version("tfdeblur")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("tfdeblur runs from the checkout and is not installed")
    assert installed == tfdeblur.__version__


def test_console_scripts_lead_to_functions(repository: pathlib.Path) -> None:
    scripts = lines_of(setup_cfg(repository)["options.entry_points"]["console_scripts"])
    assert scripts
    for script in scripts:
        module, function = script.split("=")[1].strip().split(":")
        assert callable(getattr(importlib.import_module(module), function)), script


def test_tested_set_satisfies_the_floors(repository: pathlib.Path) -> None:
    pinned = {
        requirement.name.lower().replace("_", "-"): requirement
        for requirement in requirement_lines(
            (repository / "requirements.txt").read_text(encoding="utf-8")
        )
    }
    setup = setup_cfg(repository)
    extras = setup["options.extras_require"]
    wanted = requirement_lines(setup["options"]["install_requires"])
    for extra in ("cpu", "quickstart", "dev"):
        wanted += requirement_lines(extras[extra])
    for requirement in wanted:
        pin = pinned[requirement.name.lower().replace("_", "-")]
        (specifier,) = pin.specifier
        assert specifier.operator == "==", pin
        assert requirement.specifier.contains(specifier.version), (requirement, pin)


def test_extra_for_tensorflow_on_tpus_is_bounded(repository: pathlib.Path) -> None:
    """TensorFlow 2.19.1 is the last with a libtpu that it can load, for Python below 3.13."""
    extras = setup_cfg(repository)["options.extras_require"]
    wanted = {requirement.name: requirement for requirement in requirement_lines(extras["tpu"])}
    assert wanted.keys() == {"tensorflow-tpu", "keras"}
    assert str(wanted["tensorflow-tpu"].specifier) == "==2.19.1"
    marker = wanted["tensorflow-tpu"].marker
    assert marker is not None
    on = {version: marker.evaluate({"python_version": version}) for version in ("3.11", "3.13")}
    assert on == {"3.11": True, "3.13": False}
    assert {specifier.operator for specifier in wanted["keras"].specifier} == {">=", "<"}
    pinned = requirement_lines((repository / "requirements.txt").read_text(encoding="utf-8"))
    (keras,) = [requirement for requirement in pinned if requirement.name == "keras"]
    (specifier,) = keras.specifier
    assert wanted["keras"].specifier.contains(specifier.version)


def test_tensorflow_stands_in_extras_only(repository: pathlib.Path) -> None:
    wanted = requirement_lines(setup_cfg(repository)["options"]["install_requires"])
    assert not [r for r in wanted if r.name.startswith("tensorflow")]


def figures(values: Mapping[str, Any] | None, absent: str) -> str:
    """The cell of a recipe's reported or measured figures, in the units papers use.

    Papers that stop after PSNR or SSIM leave the rest of the cell away; SSIM has the decimals that
    the recipe's file gives it.
    """
    if not values:
        return absent
    parts = [f"{values['psnr_db']:.2f}"]
    if "ssim" in values:
        parts.append(f"{values['ssim']:.4f}" if "images" in values else f"{values['ssim']}")
    for name, factor, decimals in (("mse", 1e3, 3), ("mae", 1e2, 3), ("log_cosh", 1e4, 2)):
        if name in values:
            parts.append(f"{factor * values[name]:.{decimals}f}")
    cell = " / ".join(parts)
    for name, title, form in (("adversarial_loss", "Loss (Adv.)", ""), ("loss", "loss", ".3e")):
        if name in values:
            cell += f", {title} {values[name]:{form}}".replace("e-0", "e-")
    return f"{cell}, {values['images']:,} images" if "images" in values else cell


def recipe_row(name: str) -> str:
    """The row of the table in docs/recipes.md that a recipe's file asks for."""
    about = recipes.load(name).about
    built = re.search(r"data_prep\.build (\w+)", about["data"])
    known = {
        "cifar10": "CIFAR-10",
        "gopro": "GoPro",
        "reds": "REDS",
        "rsblur": "RSBlur",
        "sharp": "sharp frames, blurred here",
    }
    data = known[built[1]] if built else "photographs and scenes"
    # Decibels at a reduced size are not those of the whole frames.
    resized = re.search(r"--resize (\w+)", about["data"])
    data += f", {resized[1]}" if resized else ""
    reported = figures(about["reported"], "none")
    measured = figures(about["measured"], "not measured")
    return f"| `{name}` | {data} | {reported} | {measured} | {about['batch_norm']} |"


def training_row(name: str) -> str:
    """The row of a measured recipe in the table of what was trained."""
    measured = recipes.load(name).about["measured"]
    preset = f"`{measured['preset']}`" if "preset" in measured else ""
    hours = measured.get("hours") or ""
    cells = f"`{name}`", f"{measured['images']:,}", measured["device"], hours
    return f"| {' | '.join(map(str, (*cells, preset)))} |".replace("  |", " |")


MEASURED = [name for name in tfdeblur.list_recipes() if recipes.load(name).about["measured"]]


@pytest.mark.parametrize("name", tfdeblur.list_recipes())
def test_recipe_is_in_the_table_with_the_figures_of_its_file(
    repository: pathlib.Path, name: str
) -> None:
    page = (repository / "docs/recipes.md").read_text(encoding="utf-8")
    assert recipe_row(name) in page.splitlines()


@pytest.mark.parametrize("name", MEASURED)
def test_training_of_measured_figures_is_in_the_table(repository: pathlib.Path, name: str) -> None:
    page = (repository / "docs/recipes.md").read_text(encoding="utf-8")
    assert training_row(name) in page.splitlines()


@pytest.mark.parametrize("name", MEASURED)
def test_readme_table_has_the_figures_of_the_recipe(repository: pathlib.Path, name: str) -> None:
    if name == "quickstart":
        pytest.skip("its figures are in the caption of the picture")
    about = recipes.load(name).about
    readme = (repository / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if f"`{name}`" in line and line[0] == "|"]
    for figures in filter(None, (about["reported"], about["measured"])):
        assert f"{figures['psnr_db']:.2f} / {figures['ssim']:.4f}".replace(" 0.", " .") in row


def test_readme_is_short(repository: pathlib.Path) -> None:
    assert len((repository / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_markdown_lines_are_below_160_characters(repository: pathlib.Path) -> None:
    long = [
        f"{path.relative_to(repository)}:{number}"
        for path in sources(repository, ".md")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > 160
    ]
    assert not long


@pytest.mark.parametrize("name", tfdeblur.list_recipes())
def test_recipes_tell_commands_that_exist(name: str) -> None:
    about = recipes.load(name).about
    built, trained = shlex.split(about["data"]), shlex.split(about["command"])
    assert trained[:3] == ["python", "-m", "tfdeblur.train"]
    assert trained[trained.index("--recipe") + 1] == name
    if built[:3] != ["python", "-m", "data_prep.build"]:
        return  # the quickstart's, which a program builds
    fields = dataclasses.fields(build.config_class(built[3]))
    known = {f"--{field.name.replace('_', '-')}" for field in fields}
    assert {word for word in built[4:] if word.startswith("--")} <= known
    assert built[built.index("--out") + 1] == trained[trained.index("--data") + 1]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_in_documents_exist(repository: pathlib.Path, name: str) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    for words in commands((repository / name).read_text(encoding="utf-8")):
        if words[0] == "make":
            named = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
            assert set(named) <= targets, words


def test_the_matrix_names_a_python_that_is_missing(repository: pathlib.Path) -> None:
    call = ["make", "test-matrix", "MATRIX=9.9-2.21.0"]
    done = subprocess.run(call, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: there is no python9.9 here; install it, or name what there is" in done.stderr


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_commands_in_documents_know_their_flags(repository: pathlib.Path, name: str) -> None:
    helps: dict[str, str] = {}
    for words in commands((repository / name).read_text(encoding="utf-8")):
        if words[:2] != ["python", "-m"] or not words[2].startswith(("tfdeblur", "data_prep")):
            continue
        # A command with subcommands (`data_prep.build cifar10`) explains each of them apart.
        leading = [word for word in words[3:4] if words[2] == "data_prep.build"]
        call = [sys.executable, "-m", words[2], *leading, "--help"]
        key = " ".join(call)
        if key not in helps:
            done = subprocess.run(call, cwd=repository, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (words, done.stderr)
            helps[key] = done.stdout
        for flag in [word.split("=")[0] for word in words[3:] if word.startswith("--")]:
            # Options of the chosen model, critic and objective are plug-ins' and stand in no help.
            if not flag.startswith(("--model.", "--critic.", "--objective.")):
                assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", helps[key]), words


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_in_documents_lead_somewhere(repository: pathlib.Path, name: str) -> None:
    text = (repository / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (repository / target).exists(), target


def test_no_paths_of_one_machine(repository: pathlib.Path) -> None:
    # Put together here, so that this file does not hold what it looks for.
    roots = "|".join(("work", "farm", "root", "home"))
    pattern = re.compile(rf"(?<![\w.~}}])/({roots})/\w|/tmp/\w/")
    endings = (".py", ".md", ".cfg", ".toml", ".yaml", ".txt", ".ipynb", "run", "Makefile")
    leaks = [
        f"{path.relative_to(repository)}:{number}: {line.strip()}"
        for path in sources(repository, *endings)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not leaks


def test_silenced_checks_say_why(repository: pathlib.Path) -> None:
    marks = re.compile(r"#\s*(" + "type: " + r"ignore|no" + r"qa)[^#]*(#.*)?$")
    silent = []
    for path in sources(repository, ".py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            match = marks.search(line)
            if match and not match.group(2):
                silent.append(f"{path.relative_to(repository)}:{number}: {line.strip()}")
    assert not silent
