"""The table of rows is kept in a folder and written as Markdown."""

import dataclasses

import pytest

from tfdeblur.io import files
from tfdeblur.tpu.chips import GIB, MIB, parse
from tfdeblur.tpu.table import CAVEAT, Row, Table, markdown

MADE = {"keras": "3.15.1", "jax": "0.10.2", "jaxlib": "0.10.2", "libtpu": "0.0.52"}
KEY = ("unet16_cifar10", "v5e-8", "jax", "32x32", 256)


def row(name="unet16_cifar10", tpu="v5e-8", **values):
    full = {
        "engine": "jax",
        "size": "32x32",
        "batch": 256,
        "usable": parse(tpu).chip.usable,
        "attached": 8,
        "devices": 8,
        "images": 256,
        "parameters": 10,
        "needed": GIB // 2,
        "memory": {"arguments": GIB // 2},
        "flops": 2.5e9,
        "sent": {"all-reduce f32": 3 * MIB, "all-gather f32": MIB},
        "least_ms": {"compute": 0.5, "memory": 0.25, "links": 0.125},
        "flow_ms": 1.5,
        "most_images": 512000.0,
        "compile_seconds": 12.0,
        "share": 0.99,
        "versions": MADE,
    }
    return Row(name=name, slice=tpu, **{**full, **values})


def test_add_keeps_other_rows_and_replaces_older_ones(folder):
    table = Table(folder)
    table.add(row())
    table.add(row(tpu="v6e-8"))
    again = Table(folder)
    again.add(row(largest=99, problems=("one thing",)))
    rows = Table(folder).rows
    assert set(rows) == {KEY, ("unet16_cifar10", "v6e-8", *KEY[2:])}
    assert rows[KEY] == row(largest=99, problems=("one thing",))
    assert files.read_text(files.join(folder, "table.md")) == markdown(
        [rows[key] for key in sorted(rows)]
    )


def test_add_of_another_batch_image_size_or_engine_adds_a_row(folder):
    table = Table(folder)
    for values in ({}, {"batch": 64}, {"size": "64x64"}, {"engine": "tensorflow"}):
        table.add(row(**values))
    assert len(Table(folder).rows) == 4


# The last one is a row of a release whose rows were those of a chip.
@pytest.mark.parametrize("text", ["[{", "3", "[3]", '[{"name": "a", "chip": "v5e"}]'])
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


def cells(one):
    lines = markdown([one]).splitlines()
    assert lines[0].count("|") == lines[2].count("|") == 12
    return [cell.strip() for cell in lines[2].strip("|").split("|")]


def test_markdown_has_limitations_and_versions():
    text = markdown([row()])
    assert CAVEAT in text
    assert "Keras 3.15.1, JAX 0.10.2, jaxlib 0.10.2, libtpu 0.0.52" in text


def test_markdown_of_a_step_has_its_figures():
    head = ["`unet16_cifar10`", "32x32", "v5e-8", "8", "256"]
    figures = ["2.5", "4.0", "0.500 (compute)", "512,000"]
    assert cells(row(largest=2048)) == [*head, "0.50 of 15.75", "2,048", *figures]
    assert cells(row(engine="tensorflow", sent=None))[0] == "`unet16_cifar10` (TensorFlow)"


def test_markdown_of_steps_that_do_not_fit_or_compile():
    assert cells(row(needed=20 * GIB, memory={}))[5] == "20.00 of 15.75 (no room)"
    assert cells(row(needed=None, memory={}))[5] == "(no room)"
    assert cells(row(error="crashed"))[5] == "does not compile"
