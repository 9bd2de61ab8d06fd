"""How tests examine and build."""

import pytest

from data_prep import build, doctor


@pytest.fixture
def examine(capsys):
    """Examines a set in this process; returns the report and the exit code."""

    def run(path, source=None, **options):
        config = doctor.config_class(source)(path=(str(path),), source=source, workers=1, **options)
        return doctor.run(config)

    return run


@pytest.fixture
def try_to_build(tmp_path, capsys):
    """Builds a set of pairs; returns the exit code and what was complained of."""

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
