"""Replies of the compiler are cached by step, chip and versions."""

import pytest

from tfdeblur.io import files
from tfdeblur.tpu.cache import Cache

VERSIONS = {"jax": "0.10.2", "libtpu": "0.0.52"}


def test_get_returns_the_stored_reply(folder):
    cache = Cache(folder)
    key = cache.key("a step", "v5e", VERSIONS)
    assert cache.get(key) is None
    cache.put(key, {"flops": 1.5})
    assert Cache(folder).get(key) == {"flops": 1.5}


@pytest.mark.parametrize("content", [b"", b'{"flops": 1', b"[1]", b"\xff\xfe"])
def test_get_of_a_damaged_reply_returns_none(folder, content):
    cache = Cache(folder)
    key = cache.key("a step", "v5e", VERSIONS)
    cache.put(key, {"flops": 1.5})
    files.write_bytes(files.join(folder, "compiled", f"{key}.json"), content)
    assert cache.get(key) is None


def test_key_depends_on_step_chip_and_versions(folder):
    cache = Cache(folder)
    keys = {
        cache.key("a step", "v5e", VERSIONS),
        cache.key("another", "v5e", VERSIONS),
        cache.key("a step", "v6e", VERSIONS),
        cache.key("a step", "v5e", {**VERSIONS, "libtpu": "0.0.53"}),
    }
    assert len(keys) == 4
    assert cache.key("a step", "v5e", dict(reversed(VERSIONS.items()))) in keys
