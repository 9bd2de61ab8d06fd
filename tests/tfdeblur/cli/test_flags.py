"""Flags generated from dataclasses, and all configuration errors at once."""

import dataclasses
import errno
import importlib
import os
import re
from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from pydantic import Field

from data_prep import build
from tfdeblur import cli, deblur, export, train
from tfdeblur.cli import flags
from tfdeblur.config import settings
from tfdeblur.config.fields import Size
from tfdeblur.errors import ConfigError, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    rate: Annotated[float, Field(gt=0, description="how fast")] = 0.5
    name: Literal["plain", "fancy"] = "plain"
    norm: Literal["batch", "none"] = "batch"
    depth: Literal[10, 20] = 10
    cache: Literal["auto", "on", "off"] = "auto"
    """keep it"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    out: Annotated[str, Field(description="where to")]
    inputs: tuple[str, ...] = ()
    count: Annotated[int | None, Field(ge=1)] = None
    verbose: bool = False
    inner: Inner = Inner()


def run_and_catch(argv, **kwargs):
    caught = []
    code = cli.run_command(Outer, caught.append, argv, prog="test", description="Tests.", **kwargs)
    return code, caught[0] if caught else None


def test_flags_set_fields_of_dataclass():
    code, config = run_and_catch(
        ["--out", "x", "--inputs", "a", "b", "--count", "3", "--verbose", "--inner.rate", "1e-3"]
    )
    assert code == 0
    assert config == Outer(
        out="x", inputs=("a", "b"), count=3, verbose=True, inner=Inner(rate=1e-3)
    )


def test_word_for_choice_of_numbers_becomes_number():
    _, config = run_and_catch(["--out", "x", "--inner.depth", "20"])
    assert config.inner.depth == 20


@pytest.mark.parametrize(("words", "value"), [([], "on"), (["off"], "off"), (["auto"], "auto")])
def test_flag_of_field_that_can_be_on_needs_no_value(words, value):
    _, config = run_and_catch(["--inner.cache", *words, "--out", "x"])
    assert config.inner.cache == value


def test_description_is_the_docstring_below_the_field_or_that_of_its_type(capsys):
    with pytest.raises(SystemExit):
        run_and_catch(["--help"])
    text = capsys.readouterr().out
    assert "keep it {auto,on,off} (default auto)" in text
    assert "how fast" in text


def test_number_for_text_field_stays_text():
    _, config = run_and_catch(["--out", "2024"])
    assert config.out == "2024"


def test_none_for_optional_field_unsets_it():
    _, config = run_and_catch(["--out", "x", "--count", "none"])
    assert config.count is None


@pytest.mark.parametrize("word", ["none", "null"])
def test_none_for_field_with_that_choice_selects_it(word):
    _, config = run_and_catch(["--out", "x", "--inner.norm", word])
    assert config.inner.norm == "none"


def test_positional_arguments_set_their_field():
    _, config = run_and_catch(["a.png", "b.png", "--out", "x"], positional="inputs")
    assert config.inputs == ("a.png", "b.png")
    _, config = run_and_catch(["--out", "x"], positional="inputs")
    assert config.inputs == ()


def test_option_that_is_not_utf8_is_an_error_and_a_file_name_is_not(capsys):
    code, config = run_and_catch(["--out", "caf\udce9"])
    assert (code, config) == (2, None)
    assert r"error: out: caf\udce9 " in capsys.readouterr().err
    _, config = run_and_catch(["caf\udce9", "--out", "x"], positional="inputs")
    assert config.inputs == ("caf\udce9",)


def test_config_file_is_overridden_by_flags(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("out: from_file\ncount: 5\ninner: {rate: 2.0}\n")
    _, config = run_and_catch(["--config", str(path), "--count", "6"])
    assert (config.out, config.count, config.inner.rate) == ("from_file", 6, 2.0)


def test_errors_of_file_and_flags_are_listed_together_with_near_names(capsys, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("cuont: 5\ninner: {rate: -1, nam: fancy}\n")
    code, config = run_and_catch(["--config", str(path), "--verbos"])
    assert code == cli.command.EXIT_USER_ERROR
    assert config is None
    message = capsys.readouterr().err
    for part in (
        r"--verbos: .*'--verbose'",
        r"cuont: .*'count'",
        r"inner\.nam: .*'name'",
        r"inner\.rate: .*0; got -1",
        r"out: is required",
    ):
        assert re.search(part, message)
    assert "5 configuration errors" in message
    assert "Traceback" not in message


def test_abbreviated_flag_is_an_error():
    code, _ = run_and_catch(["--ou", "x"])
    assert code == cli.command.EXIT_USER_ERROR


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "just words"])
def test_config_file_without_mapping_is_an_error_that_names_it(tmp_path, text, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    code, _ = run_and_catch(["--config", str(path)])
    assert code == cli.command.EXIT_USER_ERROR
    assert "bad.yaml" in capsys.readouterr().err


def test_rejected_value_is_shown_in_part(capsys):
    code, _ = run_and_catch(["--out", "x", "--count", "9" * 60_000])
    assert code == cli.command.EXIT_USER_ERROR
    assert len(capsys.readouterr().err) < 500


def test_missing_config_file_is_an_error_that_names_it(capsys):
    code, _ = run_and_catch(["--config", "nowhere.yaml"])
    assert code == cli.command.EXIT_USER_ERROR
    assert "nowhere.yaml" in capsys.readouterr().err


def test_guard_returns_exit_code_of_each_error(capsys):
    def fails():
        raise UserError("photo.png is empty")

    def interrupted():
        raise KeyboardInterrupt

    assert cli.guard(fails) == 2
    assert capsys.readouterr().err == "error: photo.png is empty\n"
    assert cli.guard(interrupted) == 130
    assert cli.guard(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        cli.guard(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EMFILE, "ulimit -n"), (errno.ENOSPC, "TMPDIR"), (errno.EDQUOT, "TMPDIR")],
)
def test_guard_names_a_limit_of_the_system_in_one_line(capsys, number, reason):
    def fails():
        raise OSError(number, os.strerror(number), "some/file")

    assert cli.guard(fails) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: some/file: ") and reason in printed
    assert len(printed.splitlines()) == 1
    with pytest.raises(FileNotFoundError):
        cli.guard(lambda: os.listdir("nowhere") and 0)


def test_merge_of_another_plug_in_drops_the_options_of_the_first():
    base = {"model": {"name": "a", "width": 3}, "data": {"crop": 1, "flip": True}}
    assert settings.merge(base, {"model": {"name": "b"}})["model"] == {"name": "b"}
    assert settings.merge(base, {"model": {"name": "a", "depth": 2}})["model"] == {
        "name": "a",
        "width": 3,
        "depth": 2,
    }
    assert settings.merge(base, {"data": {"crop": 2}})["data"] == {"crop": 2, "flip": True}
    assert base["data"]["crop"] == 1


def test_validate_without_required_value_raises_config_error():
    assert settings.validate(Outer, {"out": "x"}).out == "x"
    with pytest.raises(ConfigError, match=r"^out: "):
        settings.validate(Outer, {})


def test_help_shows_choices_and_defaults(capsys):
    with pytest.raises(SystemExit):
        run_and_catch(["--help"])
    text = capsys.readouterr().out
    assert "how fast (default 0.5)" in text
    assert "{plain,fancy}" in text


def test_short_flag_sets_field_and_is_in_help(capsys):
    _, config = run_and_catch(["-o", "x"], short={"out": "o"})
    assert config.out == "x"
    with pytest.raises(SystemExit):
        run_and_catch(["--help"], short={"out": "o"})
    # Python 3.13 prints the metavar once, earlier versions after both flags.
    assert re.search(r"-o( OUT)?, --out OUT", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a.b", "adam"), ("a.b.rate", "1")),
        (("a.b.rate", "1"), ("a.b", "adam")),
        (("a.b", None), ("a.b.c.d", 1)),
    ],
)
def test_put_of_value_and_section_with_one_name_raises_config_error(first, second):
    tree = {}
    settings.put(tree, *first)
    with pytest.raises(ConfigError, match=r"^a\.b: .*\(a\.b\."):
        settings.put(tree, *second)


def test_invalid_member_of_list_is_one_error(capsys):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Chips:
        tpu: Annotated[tuple[Literal["v5e", "v6e"], ...], Field(min_length=1)] = ("v5e",)
        path: Annotated[tuple[str, ...], Field(min_length=1, max_length=1)] = ("a",)

    def run(*words):
        code = cli.run_command(Chips, lambda _: 0, list(words), prog="p", description="d")
        return code, capsys.readouterr().err

    code, printed = run("--tpu", "v7")
    assert code == 2 and printed.startswith("error: tpu.0: ") and len(printed.splitlines()) == 1
    assert "path: takes at most 1 value, got 2" in run("--path", "a", "b")[1]
    with pytest.raises(ConfigError, match="path: takes at least 1 value, got 0"):
        settings.validate(Chips, {"path": []})


def test_unknown_flag_suggests_near_flag(capsys):
    parser = flags.make_parser("p", "d")
    for flag in ("--optimizer.learning-rate", "--crop", "--data.crop"):
        parser.add_argument(flag)
    for word, near in (
        ("--learning-rate", "'--optimizer.learning-rate'?"),
        ("--lr", "'--optimizer.learning-rate'?"),
        ("--lr_rate", "'--optimizer.learning-rate'?"),
        ("--learning_rate=1", "'--optimizer.learning-rate'?"),
        ("--patch-size", "'--data.crop'?"),
        ("--batch-size", "--help to see all flags."),  # this parser does not have our flag
        ("--crap", "'--crop'?"),
        ("--hlep", "--help to see all flags."),
    ):
        (problem,) = flags.reject_unknown_flags([word], parser)
        assert str(problem).endswith(near)


def test_help_shows_size_as_width_x_height(capsys):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Crops:
        crops: Size | None = Size(128, 256)

    assert cli.run_command(Crops, lambda _: 0, [], prog="p", description="d") == 0
    with pytest.raises(SystemExit):
        cli.run_command(Crops, lambda _: 0, ["--help"], prog="p", description="d")
    assert "(default 256x128)" in capsys.readouterr().out


def options_of(parser):
    return {option for action in parser._actions for option in action.option_strings}


@pytest.fixture(scope="module")
def parsers():
    found = {"train": train._parser()}
    for name, config_class in (
        ("deblur", deblur.DeblurConfig),
        ("export", export.ExportConfig),
        ("build", build.config_class("gopro")),
    ):
        found[name] = flags.make_parser(name, "d")
        flags.add_flags(found[name], config_class)
    return found


def test_flags_of_other_toolkits_suggest_existing_flags(parsers):
    known = set().union(*map(options_of, parsers.values()))
    assert {flag for ours in flags.FOREIGN.values() for flag in ours} <= known
    assert not flags.FOREIGN.keys() & options_of(parsers["train"])


@pytest.mark.parametrize(
    ("command", "word", "part"),
    [
        ("train", "--batch_size", "'--training.global-batch'?"),
        ("train", "--lr_rate", "'--optimizer.learning-rate'?"),
        ("train", "--gpus=0,1", "'--runtime.strategy'?"),
        ("train", "--num-workers", "automatically"),
        ("train", "--checkpoint", "'--training.init-from'?"),
        ("build", "--num_workers", "'--workers'?"),
        ("deblur", "--batch-size", "'--max-pixels'?"),
        ("deblur", "--gpus", "CUDA_VISIBLE_DEVICES"),
        ("deblur", "--pretrained", "'--model'?"),
        ("export", "--save-dir", "'--out'?"),
    ],
)
def test_flag_of_another_toolkit_is_answered(parsers, command, word, part):
    (problem,) = flags.reject_unknown_flags([word], parsers[command])
    assert problem.path == word.split("=")[0]
    assert part in problem.message


def test_renamed_flag_error_gives_new_flag():
    parser = flags.make_parser("p", "d")
    words = ["--guards.most-skips=3", "--players.critic.optimizer.clip-norm", "1"]
    first, second = flags.reject_unknown_flags(words, parser)
    assert first.path == "--guards.most-skips"
    assert "--guards.max-consecutive-skips" in first.message
    assert "--networks.critic.optimizer.clip-norm" in second.message


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weighted:
    losses: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"mse": 1.0})
    depths: tuple[int, ...] = (1, 2)


def test_help_of_mapping_and_list_shows_what_the_flag_accepts(capsys):
    with pytest.raises(SystemExit):
        cli.run_command(Weighted, lambda _: 0, ["--help"], prog="p", description="d")
    text = capsys.readouterr().out
    losses = re.search(r"--losses .*\(default (.*)\)", text)[1]
    depths = re.search(r"--depths .*\(default (.*)\)", text)[1]
    caught = []
    words = ["--losses", losses, "--depths", *depths.split()]
    assert cli.run_command(Weighted, caught.append, words, prog="p", description="d") == 0
    assert caught == [Weighted()]


@pytest.mark.parametrize("value", ["{mse: [}", "[1, }]"])
def test_invalid_yaml_in_flag_raises_config_error_that_names_the_key(value):
    with pytest.raises(ConfigError, match=r"^objective\.losses: "):
        flags.plain_value("objective.losses", value)


@pytest.mark.parametrize(
    "command", ["deblur", "evaluate", "serve.__main__", "demo.__main__", "paper.__main__ images"]
)
def test_help_of_commands_that_load_networks_warns_of_saved_models(command, capsys):
    module, *words = command.split()
    with pytest.raises(SystemExit):
        importlib.import_module(f"tfdeblur.{module}").main([*words, "--help"])
    words = "SavedModel, which is a program: load only those you trust"
    assert words in " ".join(capsys.readouterr().out.split())
