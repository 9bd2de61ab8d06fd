"""Errors that a person can mend: each message names the file or key and says what to do."""


class UserError(Exception):
    """A mistake in what was given to the program, not in the program.

    Commands print the message without a traceback and leave with exit code 2. The message names
    the file or the key and says what to do about it.
    """

    exit_code = 2


class ConfigError(UserError):
    """A configuration that is wrong: an unknown key, a bad value, settings that contradict."""


class DataError(UserError):
    """Data that cannot be used: missing, damaged, of the wrong size, or of another version."""


class WorkerLost(UserError):
    """Another process of a job with several workers is gone, and this one cannot go on alone.

    Commands leave with 75, which says "try again" (``EX_TEMPFAIL`` of ``sysexits.h``): whoever
    starts jobs may tell it from a mistake and start all workers anew.
    """

    exit_code = 75


class Stopped(KeyboardInterrupt):
    """Work that was asked to stop by a signal and has kept what it had.

    Commands print the message and leave with 128 plus the signal's number, as shells expect.

    Args:
        message: What was kept and how to go on.
        signal_number: The signal that came.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
