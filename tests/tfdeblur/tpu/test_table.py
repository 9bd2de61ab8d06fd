"""The table of rows is kept in a folder and written as Markdown."""

import dataclasses

import pytest

from tfdeblur.io import files
from tfdeblur.tpu.chips import CHIPS, GIB
from tfdeblur.tpu.table import CAVEAT, Row, Table, markdown

MADE = {"tensorflow": "2.21.0", "keras": "3.15.1", "jax": "0.10.2", "libtpu": "0.0.52"}


def row(name="unet16_cifar10", chip="v5e", **values):
    full = {
        "size": "32x32",
        "wanted": 32,
        "bfloat16": True,
        "usable": CHIPS[chip].usable,
        "batch": 32,
        "images": 32,
        "parameters": 10,
        "needed": GIB // 2,
        "largest": 1234,
        "flops": 2.5e9,
        "least_ms": 0.5,
        "flow_ms": 1.5,
        "most_images": 64000.0,
        "compile_seconds": 12.0,
        "share": 0.99,
        "versions": MADE,
    }
    return Row(name=name, chip=chip, **{**full, **values})


def test_add_keeps_other_rows_and_replaces_older_ones(folder):
    table = Table(folder)
    table.add(row())
    table.add(row(chip="v6e", confirmed=True))
    again = Table(folder)
    again.add(row(largest=99, problems=("one thing",)))
    rows = Table(folder).rows
    assert set(rows) == {("unet16_cifar10", chip, "32x32", 32) for chip in ("v5e", "v6e")}
    assert rows["unet16_cifar10", "v5e", "32x32", 32] == row(largest=99, problems=("one thing",))
    assert files.read_text(files.join(folder, "table.md")) == markdown(
        [rows[key] for key in sorted(rows)]
    )


def test_add_of_another_batch_or_image_size_adds_a_row(folder):
    table = Table(folder)
    for values in ({}, {"wanted": 64}, {"size": "64x64"}):
        table.add(row(**values))
    assert len(Table(folder).rows) == 3


@pytest.mark.parametrize("text", ["[{", "3", "[3]", '[{"name": "a"}]'])
def test_damaged_table_is_renamed_and_started_again(folder, capsys, text):
    files.make_dirs(folder)
    files.write_text(files.join(folder, "table.json"), text)
    table = Table(folder)
    assert table.rows == {} and "is damaged" in capsys.readouterr().out
    table.add(row())
    assert len(Table(folder).rows) == 1


def test_from_json_of_another_release_ignores_unknown_fields():
    written = {**dataclasses.asdict(row()), "new_figure": 1}
    del written["flow_ms"]
    assert Row.from_json(written) == row(flow_ms=None)


def test_markdown_has_limitations_and_versions():
    text = markdown([row()])
    assert CAVEAT in text
    assert "TensorFlow 2.21.0, Keras 3.15.1, JAX 0.10.2, libtpu 0.0.52" in text
    head = "| recipe | samples | batch | GFLOP an image | v5e: GiB | v5e: largest batch |"
    assert text.startswith(head + " v5e: ms at least |")
    assert "| `unet16_cifar10` | 32x32 | 32 | 2.5 | 0.50 | 1,234 | 0.50 |" in text.splitlines()


def test_markdown_has_columns_per_chip():
    text = markdown([row(chip="v6e", confirmed=True), row("a"), row()])
    assert text.index("v5e:") < text.index("v6e:")
    assert text.splitlines()[2:4] == [
        "| `a` | 32x32 | 32 | 2.5 | 0.50 | 1,234 | 0.50 |  |  |  |",
        "| `unet16_cifar10` | 32x32 | 32 | 2.5 | 0.50 | 1,234 | 0.50 "
        "| 0.50 | 1,234 (compiled) | 0.50 |",
    ]


def test_markdown_of_two_batch_sizes_has_two_lines():
    text = markdown([row(), row(chip="v6e", wanted=64, batch=64)])
    assert text.splitlines()[2:4] == [
        "| `unet16_cifar10` | 32x32 | 32 | 2.5 | 0.50 | 1,234 | 0.50 |  |  |  |",
        "| `unet16_cifar10` | 32x32 | 64 | 2.5 |  |  |  | 0.50 | 1,234 | 0.50 |",
    ]


def test_markdown_of_steps_that_do_not_fit_or_compile():
    none = {"batch": None, "flops": None, "least_ms": None, "most_images": None}
    text = markdown(
        [row(largest=0, needed=20 * GIB, **none), row("other", **none, error="crashed")]
    )
    assert "| `unet16_cifar10` | 32x32 | 32 |  | 20.00 (no room) | 0 |  |" in text
    assert "| `other` | 32x32 | 32 |  | does not compile |  |  |" in text
    assert all(line.count("|") == 8 for line in text.splitlines() if line.startswith("|"))
