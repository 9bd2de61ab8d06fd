"""Data sets are built, checked and repaired where TensorFlow is not installed."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]

PROGRAM = """
import sys
sys.modules["tensorflow"] = None  # importing it raises ImportError
from data_prep import build, doctor
from tfdeblur.config.settings import validate
from tfdeblur.data import schema

if __name__ == "__main__":
    options = {"out": "set", "count": 6, "width": 16, "height": 16, "length": 5.0, "workers": 1}
    manifest = build.run(validate(build.config_class("scenes"), options))
    assert schema.Manifest.load("set") == manifest
    train = manifest.splits["train"]
    shard = "set/" + train.shards[0].file
    data = open(shard, "rb").read()
    open(shard, "wb").write(data[:-5])
    assert "damaged at record" in schema.find_damage(shard, 16, 16, train.encoding)
    assert doctor.run(doctor.DoctorConfig(path=("set",), workers=1)).exit_code
    assert doctor.run(doctor.DoctorConfig(path=("set",), workers=1, repair=True)).exit_code == 0
    assert open(shard, "rb").read() == data
    from tfdeblur.errors import UserError
    from tfdeblur.io import files
    try:
        files.list_dir("gs://bucket/set")
    except UserError as error:
        print(error)
"""


def test_build_doctor_and_repair(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TensorFlow" in done.stdout.splitlines()[-1]
