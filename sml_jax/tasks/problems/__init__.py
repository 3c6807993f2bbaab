"""Problems and the protocol of tasks, and reading rows of problems from files."""
