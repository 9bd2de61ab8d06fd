"""Notebooks: their cells, the cell that they share, and running one in a process of its own.

``python -m tests.helpers.notebooks`` writes notebooks/setup_cell.py into all notebooks;
``python -m tests.helpers.notebooks NAME SETTINGS UNTIL`` runs one in the current folder, with
settings as JSON for its first cell, up to the first cell that contains a text, and prints the
number of figures it showed as its last line; ``python -m tests.helpers.notebooks EXECUTED.ipynb``
takes the outputs of an executed copy into the notebook of that name.
"""

import base64
import io
import json
import os
import pathlib
import subprocess
import sys

from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SETUP = FOLDER / "setup_cell.py"

# The shared cell is the second cell with code, after the parameters.
_PLACE = 1


def read(path):
    """The notebook as JSON, and its cells with code."""
    book = json.loads(path.read_text("utf-8"))
    return book, [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def code_cells(path):
    """The sources of the cells with code."""
    return ["".join(cell["source"]) for cell in read(path)[1]]


def setup_cell(path):
    """The notebook's copy of the shared cell."""
    return code_cells(path)[_PLACE] + "\n"


def write_setup_cells():
    """Writes the shared cell into all notebooks."""
    for path in NOTEBOOKS:
        book, cells = read(path)
        cells[_PLACE]["source"] = SETUP.read_text("utf-8").rstrip("\n").splitlines(keepends=True)
        write(path, book)


def write(path, book):
    """Writes a notebook's JSON."""
    text = json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", "utf-8")


def take_outputs(executed):
    """Copies the outputs of an executed copy, except what went to stderr, with small pictures."""
    path = FOLDER / executed.name
    book, cells = read(path)
    for cell, done in zip(cells, read(executed)[1], strict=True):
        assert cell["source"] == done["source"]
        kept = [output for output in done["outputs"] if output.get("name") != "stderr"]
        cell["outputs"] = [_small(output) for output in kept]
    write(path, book)


def _small(output):
    if "data" not in output:
        return output
    data = dict(output["data"])
    if "image/png" in data:
        jpeg = io.BytesIO()
        picture = Image.open(io.BytesIO(base64.b64decode(data.pop("image/png"))))
        picture.thumbnail((800, 800))
        picture.convert("RGB").save(jpeg, "JPEG", quality=80, optimize=True)
        data["image/jpeg"] = base64.b64encode(jpeg.getvalue()).decode()
    return {"data": data, "metadata": {}, "output_type": "display_data"}


def execute(name, settings, until):
    """Runs the cells of a notebook with changed settings of its first cell."""
    import matplotlib.pyplot as plt

    figures = []
    plt.show = lambda: figures.append(1)
    first, *rest = code_cells(FOLDER / f"{name}.ipynb")
    names = {"__name__": "__main__"}
    exec(first, names)
    assert settings.keys() <= names.keys()
    names |= settings
    for cell in rest:
        exec(cell, names)
        if until and until in cell:
            break
    print(f"\n{len(figures)}")


def run(
    name, settings, folder, *, backend="jax", devices=1, until="", python=sys.executable, path=ROOT
):
    """Runs a notebook as a kernel would: in a process of its own, on one backend of Keras.

    Args:
        name: Name of the notebook.
        settings: Values of its first cell.
        folder: Existing folder to run in.
        backend: Keras's backend.
        devices: Number of CPU devices that JAX simulates.
        until: The first cell that contains this text is the last to run.
        python: Interpreter of the process.
        path: PYTHONPATH; None if the library is installed.

    Returns:
        What it printed, and the number of figures it showed.
    """
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "KERAS_BACKEND": backend, "XLA_FLAGS": flags, "MPLBACKEND": "Agg"}
    environment["JAX_PLATFORMS"] = "cpu"
    environment.pop("PYTHONPATH", None)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    program = ["-P", __file__] if path is None else ["-m", __name__]
    done = subprocess.run(
        [python, *program, name, json.dumps(settings), until],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    printed, _, figures = done.stdout.rstrip().rpartition("\n")
    return printed, int(figures)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        take_outputs(pathlib.Path(sys.argv[1]))
    elif len(sys.argv) > 2:
        execute(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3])
    else:
        write_setup_cells()
