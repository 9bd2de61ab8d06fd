"""Makes file names safe to print on a terminal.

A name can contain escape sequences, bells, line breaks and characters that reverse the direction of
text. All of them are printed as backslash escapes, and so are bytes that are not UTF-8.
"""


def printable(text: str) -> str:
    r"""Returns one line of text with unprintable characters escaped, such as ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_lines(text: str) -> str:
    r"""Returns text whose lines are printable; line breaks ``\n`` are kept."""
    return "\n".join(map(printable, text.split("\n")))
