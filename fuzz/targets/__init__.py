"""One file a target; each has a function `target()`."""
