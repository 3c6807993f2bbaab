"""Keeps a program that a model wrote in: what surrounds its process, and the process that judges it.

`walls` and `protection` run in this process. The rest is the program of the bare processes that `launcher` forks:
`confine` locks a process up, `candidate` runs the program judged, `judge` runs the tests, and the two talk through
`wire` (how values travel) and `peer` (calls over the wire).
"""
