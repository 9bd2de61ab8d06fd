"""Mutated files: the only results are success and a user's error, within limits.

``FUZZ_CASES`` files are read for each reader (`make fuzz` reads more). A find is kept in
``FUZZ_FINDS``, if set, and belongs into the quick suite as a small case.
"""

import json
import os
import pathlib
import random
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

pytest.importorskip("av")

from tests.fuzz.child import READ, REFUSED  # after the check for PyAV
from tests.fuzz.mutations import mutated
from tests.fuzz.readers import READERS

CASES = int(os.environ.get("FUZZ_CASES", "100"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
SECONDS = 10.0
START_SECONDS = 300.0


class Child:
    """A process that reads files, replaced when it dies or takes too long."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, reader: str, folder: pathlib.Path, name: str) -> str:
        """Returns `READ`, `REFUSED`, or what went wrong."""
        seconds = SECONDS if self._process else START_SECONDS
        process = self._process = self._process or subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child"],
            # The C library reserves 64 MiB for each thread, which the limit on memory counts.
            env={**os.environ, "MALLOC_ARENA_MAX": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdin and process.stdout
        print(json.dumps([reader, str(folder), name]), file=process.stdin, flush=True)
        if not select.select([process.stdout], [], [], seconds)[0]:
            self.close()
            return f"no answer within {seconds:.0f} s"
        answer = process.stdout.readline()
        if answer:
            return json.loads(answer)
        code = process.wait()
        self._process = None
        return f"the process exited with {code}"

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    running = Child()
    yield running
    running.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_mutated_files_are_read_or_refused(name, child, tmp_path):
    source = random.Random(f"{SEED} {name}")
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    chosen = READERS[name].seeds(str(seeds))
    for file in dict.fromkeys(chosen):
        assert child.read(name, seeds, file) == READ, file
    finds = []
    for number in range(CASES):
        file, other = source.choice(chosen), source.choice(chosen)
        case = tmp_path / "case"
        shutil.copytree(seeds, case, dirs_exist_ok=True)
        content = mutated((seeds / file).read_bytes(), (seeds / other).read_bytes(), source)
        (case / file).write_bytes(content)
        answer = child.read(name, case, file)
        if answer not in (READ, REFUSED):
            finds.append(f"case {number}, {file}: {answer}")
            if "FUZZ_FINDS" in os.environ:
                kept = pathlib.Path(os.environ["FUZZ_FINDS"], name, str(number))
                shutil.copytree(case, kept, dirs_exist_ok=True)
        shutil.rmtree(case)
    assert not finds, "\n".join(finds)
