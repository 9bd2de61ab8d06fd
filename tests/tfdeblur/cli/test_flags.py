"""Flags out of dataclasses, and all errors at once."""

import dataclasses
import re
from typing import Annotated, Literal

import pytest
from pydantic import Field

from tfdeblur import cli
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


def test_flags_become_the_dataclass():
    code, config = run_and_catch(
        ["--out", "x", "--inputs", "a", "b", "--count", "3", "--verbose", "--inner.rate", "1e-3"]
    )
    assert code == 0
    assert config == Outer(
        out="x", inputs=("a", "b"), count=3, verbose=True, inner=Inner(rate=1e-3)
    )


def test_words_that_are_choices_of_numbers():
    _, config = run_and_catch(["--out", "x", "--inner.depth", "20"])
    assert config.inner.depth == 20


def test_numbers_stay_text_where_text_is_wanted():
    _, config = run_and_catch(["--out", "2024"])
    assert config.out == "2024"


def test_none_on_the_command_line():
    _, config = run_and_catch(["--out", "x", "--count", "none"])
    assert config.count is None


@pytest.mark.parametrize("word", ["none", "null"])
def test_none_is_a_choice_where_it_is_offered(word):
    _, config = run_and_catch(["--out", "x", "--inner.norm", word])
    assert config.inner.norm == "none"


def test_positional_words():
    _, config = run_and_catch(["a.png", "b.png", "--out", "x"], positional="inputs")
    assert config.inputs == ("a.png", "b.png")
    _, config = run_and_catch(["--out", "x"], positional="inputs")
    assert config.inputs == ()


def test_file_below_flags(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("out: from_file\ncount: 5\ninner: {rate: 2.0}\n")
    _, config = run_and_catch(["--config", str(path), "--count", "6"])
    assert (config.out, config.count, config.inner.rate) == ("from_file", 6, 2.0)


def test_every_error_at_once_with_near_names(capsys, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("cuont: 5\ninner: {rate: -1, nam: fancy}\n")
    code, config = run_and_catch(["--config", str(path), "--verbos"])
    assert code == cli.command.EXIT_USER_ERROR
    assert config is None
    message = capsys.readouterr().err
    for part in (
        "--verbos: unknown flag. Did you mean '--verbose'",
        "cuont: unknown key. Did you mean 'count'",
        "inner.nam: unknown key. Did you mean 'name'",
        "inner.rate: Input should be greater than 0; got -1",
        "out: is needed and was not given",
    ):
        assert part in message
    assert "Traceback" not in message


def test_abbreviated_flags_are_refused():
    code, _ = run_and_catch(["--ou", "x"])
    assert code == cli.command.EXIT_USER_ERROR


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "just words"])
def test_files_that_are_no_mapping(tmp_path, text, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    code, _ = run_and_catch(["--config", str(path)])
    assert code == cli.command.EXIT_USER_ERROR
    assert "bad.yaml" in capsys.readouterr().err


def test_missing_config_file(capsys):
    code, _ = run_and_catch(["--config", "nowhere.yaml"])
    assert code == cli.command.EXIT_USER_ERROR
    assert "nowhere.yaml: there is no such file" in capsys.readouterr().err


def test_exit_codes(capsys):
    def mistake():
        raise UserError("photo.png is empty")

    def interrupted():
        raise KeyboardInterrupt

    assert cli.guard(mistake) == 2
    assert capsys.readouterr().err == "error: photo.png is empty\n"
    assert cli.guard(interrupted) == 130
    assert cli.guard(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        cli.guard(lambda: 1 // 0)


def test_merge_starts_afresh_where_another_plug_in_is_named():
    base = {"model": {"name": "a", "width": 3}, "data": {"crop": 1, "flip": True}}
    assert settings.merge(base, {"model": {"name": "b"}})["model"] == {"name": "b"}
    assert settings.merge(base, {"model": {"name": "a", "depth": 2}})["model"] == {
        "name": "a",
        "width": 3,
        "depth": 2,
    }
    assert settings.merge(base, {"data": {"crop": 2}})["data"] == {"crop": 2, "flip": True}
    assert base["data"]["crop"] == 1


def test_validate_for_notebooks():
    assert settings.validate(Outer, {"out": "x"}).out == "x"
    with pytest.raises(ConfigError, match="out: is needed"):
        settings.validate(Outer, {})


def test_help_shows_choices_and_defaults(capsys):
    with pytest.raises(SystemExit):
        run_and_catch(["--help"])
    text = capsys.readouterr().out
    assert "how fast (default 0.5)" in text
    assert "{plain,fancy}" in text


def test_short_flags(capsys):
    _, config = run_and_catch(["-o", "x"], short={"out": "o"})
    assert config.out == "x"
    with pytest.raises(SystemExit):
        run_and_catch(["--help"], short={"out": "o"})
    # Python 3.13 names the value once, before that it stands behind both flags.
    assert re.search(r"-o( OUT)?, --out OUT", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a.b", "adam"), ("a.b.rate", "1")),
        (("a.b.rate", "1"), ("a.b", "adam")),
        (("a.b", None), ("a.b.c.d", 1)),
    ],
)
def test_a_value_and_a_section_of_one_name_are_refused(first, second):
    tree = {}
    settings.put(tree, *first)
    with pytest.raises(ConfigError, match=r"^a\.b: was given as .* and as a section \(a\.b\."):
        settings.put(tree, *second)


def test_a_wrong_member_of_a_list_is_one_problem(capsys):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Chips:
        tpu: Annotated[tuple[Literal["v5e", "v6e"], ...], Field(min_length=1)] = ("v5e",)
        path: Annotated[tuple[str, ...], Field(min_length=1, max_length=1)] = ("a",)

    def told(*words):
        code = cli.run_command(Chips, lambda _: 0, list(words), prog="p", description="d")
        return code, capsys.readouterr().err

    code, said = told("--tpu", "v7")
    assert code == 2 and said.startswith("error: tpu.0: ") and len(said.splitlines()) == 1
    assert told("--path", "a", "b")[1].strip().endswith("takes at most 1 value; 2 were given")
    with pytest.raises(ConfigError, match="path: needs at least 1 value; 0 were given"):
        settings.validate(Chips, {"path": []})


def test_a_flag_without_its_section_is_understood(capsys):
    parser = flags.make_parser("p", "d")
    for flag in ("--optimizer.learning-rate", "--crop", "--data.crop"):
        parser.add_argument(flag)
    for word, near in (
        ("--learning-rate", "Did you mean '--optimizer.learning-rate'?"),
        ("--crap", "Did you mean '--crop'?"),
        ("--hlep", "Give --help to see the flags."),
    ):
        (problem,) = flags.reject_unknown_flags([word], parser)
        assert str(problem).endswith(near)


def test_sizes_in_the_help_are_as_they_are_written(capsys):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Crops:
        crops: Size | None = (128, 256)

    assert cli.run_command(Crops, lambda _: 0, [], prog="p", description="d") == 0
    with pytest.raises(SystemExit):
        cli.run_command(Crops, lambda _: 0, ["--help"], prog="p", description="d")
    assert "(default 256x128)" in capsys.readouterr().out
