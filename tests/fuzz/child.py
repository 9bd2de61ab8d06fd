"""Reads one file after the other, within limits: ``python -m tests.fuzz.child``.

Each line of the input is a JSON list of the reader, the folder and the name of a file. Each line of
the output is a JSON text: `READ`, `REFUSED` (by a user's error), or the traceback.
"""

import json
import os
import resource
import sys
import traceback

from tests.fuzz.readers import READERS
from tfdeblur.errors import UserError

READ, REFUSED = "read", "refused"
EXTRA_BYTES = 1 << 30


def main() -> None:
    """Answers until the input ends."""
    # The readers, or the libraries below them, may print.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with open("/proc/self/statm", encoding="ascii") as file:
        resting = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (resting + EXTRA_BYTES,) * 2)
    for line in sys.stdin:
        reader, folder, name = json.loads(line)
        answer = READ
        try:
            READERS[reader].read(folder, name)
        except UserError:
            answer = REFUSED
        except BaseException:
            answer = traceback.format_exc()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
