"""Run the tests marked `vcan`, here or in a guest; further arguments are pytest's."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.vcan import guest

#: What is run, from the root of the repository.
_TESTS = ("tests/vcan", "tests/contract/test_can_ports.py")
_UP = (
    "ip link set lo up; for name in vcan0 vcan1; do"
    " ip link add dev $name type vcan && ip link set $name mtu 72 up || exit 1; done"
)


def main(arguments: list[str]) -> int:
    pytest = [
        "-m",
        "pytest",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        "-m",
        "vcan",
        "-ra",
        "--color",
        "no",
    ]
    pytest += arguments or list(_TESTS)
    here = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*here, "sh", "-c", _UP], check=False, stderr=subprocess.DEVNULL).returncode:
        print("this kernel has no vcan: an emulated one will do", flush=True)
        with tempfile.TemporaryDirectory(prefix="canota-vcan-") as folder:
            return guest.run(Path(folder), setup=_UP, python=pytest)
    script = f'{_UP}; exec "$@"'
    return subprocess.run(
        [*here, "sh", "-c", script, "sh", sys.executable, *pytest], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
