"""Data sets of real images, for tests that have them."""

import subprocess
import sys

from data_prep import build


def build_cifar10(real_data, folder, *flags):
    """Builds CIFAR-10 with `data_prep.build` and returns its path.

    Args:
        real_data: The folder that $TFDEBLUR_DATA names.
        folder: Where to write.
        *flags: Options of the build.
    """
    unpack = real_data / "cifar10" / "unpack.py"
    call = [sys.executable, str(unpack), str(unpack.parent / "strips"), str(folder / "raw")]
    subprocess.run(call, check=True, capture_output=True)
    out = f"{folder}/built"
    assert build.main(["cifar10", "--source", str(folder / "raw"), "--out", out, *flags]) == 0
    return out
