"""The main job: ``accelerate launch benchmarks/run.py --strategy lora``; the same as ``peftcorr run``."""

import sys

from peftcorr.cli import console

if __name__ == "__main__":
    console(["run", *sys.argv[1:]])
