"""Patterns that say how the files of one half of each pair are called."""

import dataclasses
import re

from tfdeblur.errors import ConfigError

_TOKEN = re.compile(r"(\{[^}]*\}|\*)")


@dataclasses.dataclass(frozen=True)
class Rule:
    """A pattern such as ``{name}_blur.*`` or ``{scene}/gt/{name}.png``.

    Attributes:
        text: The pattern as it was given.
        fields: The names in braces, in order.
    """

    text: str
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, flag: str) -> "Rule":
        """Reads a pattern.

        Raises:
            ConfigError: It lacks `{name}`, or has other or doubled fields; the message names the
                flag.
        """
        fields = tuple(token[1:-1] for token in _TOKEN.findall(text) if token != "*")
        unknown = [field for field in fields if field not in ("name", "scene")]
        if unknown or "name" not in fields or len(set(fields)) != len(fields):
            raise ConfigError(
                f"{flag} {text} must hold {{name}} once, and may hold {{scene}} once and *."
            )
        return cls(text, tuple(sorted(fields)))

    def read(self, path: str) -> str | None:
        """Returns the name of the pair that a file belongs to, or None where it follows not.

        It is the scene, if the pattern has one, and the name, parted by a slash; before them
        stands the folder of the file where the pattern has no slash, for it holds in any folder.
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
        """Returns what the file of a pair would be called."""
        *folders, base = name.split("/")
        text = self.text.replace("{name}", base)
        if "scene" in self.fields:
            text = text.replace("{scene}", folders.pop())
        return "/".join([*folders, text])

    @property
    def literals(self) -> int:
        """How much of the name the pattern fixes, in characters."""
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
