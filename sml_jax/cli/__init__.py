"""The command line: programs, their flags and exit codes."""
