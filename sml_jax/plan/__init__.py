"""What a job needs of a TPU slice, told without one: every kernel compiled ahead of time, counted and timed.

`recipe` reads what a recipe asks for, `kernels` names the programs that it runs, `compiling` compiles them for a
topology, `hlo`, `loops` and `counting` count what they do, `report` and `search` make a plan of it, `table` prints it.
"""
