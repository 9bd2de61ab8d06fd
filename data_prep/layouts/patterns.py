"""Patterns for the file names of the halves of pairs."""

import dataclasses
import re

from tfdeblur.errors import ConfigError

_TOKEN = re.compile(r"(\{[^}]*\}|\*)")


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A pattern such as ``{name}_blur.*`` or ``{scene}/gt/{name}.png``.

    Attributes:
        text: The pattern as written.
        fields: The names in braces, sorted.
    """

    text: str
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, flag: str) -> "Pattern":
        """Parses a pattern.

        Raises:
            ConfigError: `{name}` is missing, or a field is unknown or repeated; the message names
                the flag.
        """
        fields = tuple(token[1:-1] for token in _TOKEN.findall(text) if token != "*")
        unknown = [field for field in fields if field not in ("name", "scene")]
        if unknown or "name" not in fields or len(set(fields)) != len(fields):
            raise ConfigError(
                f"{flag} {text} must contain {{name}} once, and may contain {{scene}} once and *."
            )
        return cls(text, tuple(sorted(fields)))

    def read(self, path: str) -> str | None:
        """Returns the name of the pair that a file belongs to, or None if it does not match.

        The name is `{scene}/{name}`, or `{name}` if the pattern has no scene. A pattern without a
        slash applies in every folder, and the folder is put before the name.
        """
        folder, slash, base = path.rpartition("/")
        match = self._regex.fullmatch(path if "/" in self.text else base)
        if match is None:
            return None
        parts = [match["scene"], match["name"]] if "scene" in self.fields else [match["name"]]
        if slash and "/" not in self.text:
            parts.insert(0, folder)
        return "/".join(parts)

    def write(self, name: str) -> str:
        """Returns the path of a pair's file; the inverse of `read` except for ``*``."""
        *folders, base = name.split("/")
        text = self.text.replace("{name}", base)
        if "scene" in self.fields:
            text = text.replace("{scene}", folders.pop())
        return "/".join([*folders, text])

    @property
    def literals(self) -> int:
        """Number of literal characters; of two patterns, the one with more is more specific."""
        return len(_TOKEN.sub("", self.text))

    @property
    def _regex(self) -> re.Pattern[str]:
        parts = []
        for token in _TOKEN.split(self.text):
            if token == "*":
                parts.append("[^/]*")
            elif token.startswith("{"):
                parts.append(f"(?P<{token[1:-1]}>[^/]+)")
            else:
                parts.append(re.escape(token))
        return re.compile("".join(parts))
