"""Unprintable characters are escaped."""

import pytest

from tfdeblur.cli import guard
from tfdeblur.cli.printable import printable
from tfdeblur.errors import UserError

# An escape sequence, a bell, a line break and a reversal of direction.
HARMFUL = "a\x1b[2J\x07\n\u202eb"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain d\u00e9j\u00e0 \u6771\u4eac.png", "plain d\u00e9j\u00e0 \u6771\u4eac.png"),
        (HARMFUL, r"a\x1b[2J\x07\n\u202eb"),
        ("\udcff", r"\udcff"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_printable_escapes_only_unprintable_characters(text, expected):
    assert printable(text) == expected


def test_guard_escapes_error_messages(capsys):
    def fail():
        raise UserError("two problems:\n  a\x1b[2J\x07\n  \u202eb")

    assert guard(fail) == 2
    printed = capsys.readouterr().err
    assert printed == "error: two problems:\n  a\\x1b[2J\\x07\n  \\u202eb\n"
