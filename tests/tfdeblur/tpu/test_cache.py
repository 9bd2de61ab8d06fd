"""Replies of the compiler are cached by program, topology and versions."""

import pytest

from tfdeblur.io import files
from tfdeblur.tpu.cache import cached_reply

VERSIONS = {"jax": "0.10.2", "libtpu": "0.0.52"}


def ask(folder, program="a step", topology="v5e:2x4", versions=VERSIONS, **reply):
    """Returns the cache's reply, and whether the program was compiled."""
    compiled = []

    def compile_program():
        compiled.append(program)
        return {"flops": 1.5, **reply}

    return cached_reply(folder, program, topology, versions, compile_program), bool(compiled)


def test_reply_is_compiled_once(folder):
    assert ask(folder) == ({"flops": 1.5}, True)
    assert ask(folder, flops=9) == ({"flops": 1.5}, False)
    assert ask(folder, versions=dict(reversed(VERSIONS.items())))[1] is False


@pytest.mark.parametrize("content", [b"", b'{"flops": 1', b"[1]", b"\xff\xfe"])
def test_damaged_reply_is_replaced(folder, content):
    ask(folder)
    (name,) = files.list_dir(files.join(folder, "compiled"))
    files.write_bytes(files.join(folder, "compiled", name), content)
    assert ask(folder) == ({"flops": 1.5}, True)
    assert ask(folder) == ({"flops": 1.5}, False)


@pytest.mark.parametrize(
    "other",
    [
        {"program": "another"},
        {"topology": "v6e:2x4"},
        {"versions": {**VERSIONS, "libtpu": "0.0.53"}},
    ],
)
def test_other_programs_topologies_and_versions_are_compiled(folder, other):
    ask(folder)
    assert ask(folder, **other)[1] is True


def test_failure_is_not_stored(folder):
    def fail():
        raise RuntimeError("crashed")

    with pytest.raises(RuntimeError, match="crashed"):
        cached_reply(folder, "a step", "v5e:2x4", VERSIONS, fail)
    assert ask(folder)[1] is True


def test_refusals_for_lack_of_memory_alone_are_stored(folder):
    ask(folder, refused="disk full")
    assert ask(folder, refused="no room", no_room=True)[1] is True
    assert ask(folder)[1] is False
