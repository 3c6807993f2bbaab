"""The toy run on a disk that fills up and then cannot be written to at all, in a mount namespace of its own.

Run as `unshare --user --map-root-user --mount python full_disk.py HOME`; `HOME` is what
`stopped_runs.whole_run` left.
"""

import subprocess
import sys
from pathlib import Path

import stopped_runs


def mount(options: str, folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def main(home: Path) -> None:
    disk = home / "disk"
    disk.mkdir()
    mount("size=600k", disk)
    codes = [stopped_runs.train(disk / "run", home)]
    codes.append(stopped_runs.train(disk / "run", home))
    mount("remount,ro", disk)
    codes.append(stopped_runs.train(disk / "run", home))
    mount("remount,rw,size=64m", disk)
    codes.append(stopped_runs.train(disk / "run", home))
    print("codes", codes)
    print("differences", stopped_runs.differences(home / "whole", disk / "run"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
