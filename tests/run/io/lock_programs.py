"""A process that holds the lock of a run's folder, as `python lock_programs.py PATH [--elsewhere] [--no_flock] ...`.

It prints "held" once it holds the lock, or the error that it got. At each line on its standard input it says whether it
still holds it; at the end of its input it releases it.
"""

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

from sml_jax.common.errors import UserError
from sml_jax.run.io import lock, process_identity


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--elsewhere", action="store_true", help="as a process of a machine that cannot be looked at")
    parser.add_argument("--no_flock", action="store_true", help="as on a disk that knows no flock")
    parser.add_argument("--fork", action="store_true", help="leaves a child behind, and prints its number")
    parser.add_argument("--beat", type=float, default=0.1)
    parser.add_argument("--silence", type=float, default=3.0)
    parser.add_argument("--after", type=Path, help="begins once this file is there")
    flags = parser.parse_args()
    if flags.elsewhere:
        here = process_identity.this_process()
        lock.this_process = lambda: dataclasses.replace(here, host="far", boot="another")
    if flags.no_flock:
        lock._flock = lambda descriptor: None
    if flags.after:
        print("ready", flush=True)
        while not flags.after.exists():
            time.sleep(0.001)
    folder_lock = lock.FolderLock(flags.path, flags.beat, flags.silence)
    try:
        folder_lock.acquire()
    except UserError as error:
        print(f"refused: {error}", flush=True)
        return
    if flags.fork:
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        print(child, flush=True)
    print("held", flush=True)
    for _ in sys.stdin:
        try:
            folder_lock.check()
            print("still held", flush=True)
        except UserError as error:
            print(f"lost: {error}", flush=True)
    folder_lock.release()


if __name__ == "__main__":
    main()
