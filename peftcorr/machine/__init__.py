"""Processes, threads and the start of a process: what a run needs of the machine it is on."""
