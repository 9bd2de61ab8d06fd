"""Errors that a person can mend: each message names the file or key and says what to do."""


class UserError(Exception):
    """A mistake in what was given to the program, not in the program.

    Commands print the message without a traceback and leave with exit code 2. The message names
    the file or the key and says what to do about it.
    """


class ConfigError(UserError):
    """A configuration that is wrong: an unknown key, a bad value, settings that contradict."""


class DataError(UserError):
    """Data that cannot be used: missing, damaged, of the wrong size, or of another version."""
