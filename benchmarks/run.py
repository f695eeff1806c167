"""The main job: ``accelerate launch benchmarks/run.py --strategy lora``; the same as ``peftcorr run``."""

import sys

from peftcorr.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
