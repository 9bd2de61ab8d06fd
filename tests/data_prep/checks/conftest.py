"""Fixtures that examine and build data sets."""

import pytest

from data_prep import build, doctor


@pytest.fixture
def examine(capsys):
    """Returns a function that examines a data set and returns the report."""

    def run(path, source=None, **options):
        config = doctor.config_class(source)(path=(str(path),), source=source, workers=1, **options)
        return doctor.run(config)

    return run


@pytest.fixture
def try_to_build(tmp_path, capsys):
    """Returns a function that builds a set of pairs and returns the exit code and stderr."""

    def run(root, *words):
        capsys.readouterr()
        code = build.main(
            [
                "pairs",
                *("--blurred", f"{root}/blur", "--sharp", f"{root}/sharp"),
                *("--out", str(tmp_path / "built"), "--workers", "1", "--val-share", "0"),
                *("--test-share", "0", *words),
            ]
        )
        return code, capsys.readouterr().err

    return run
