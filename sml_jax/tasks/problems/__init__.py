"""What all kinds of answers share: problems, the protocol of tasks, rows of data files, and the reader of numbers."""
