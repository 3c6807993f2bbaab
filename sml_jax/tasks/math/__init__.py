"""Mathematical answers: reading them out of text, comparing them, and the task made of them."""
