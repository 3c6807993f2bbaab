"""What a job needs of a TPU slice, told without one: every executable compiled ahead of time, counted and timed.

`recipe` reads what a recipe asks for, `phases` names the executables that the engine and the learner hand over,
`compiling` compiles them for a topology, `hlo`, `loops` and `counting` count what they do, `report` and `search` make a
plan of it, and `table` prints it.
"""
