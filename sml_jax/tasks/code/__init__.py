"""Programs as answers: extracting code, running it against tests, and the task made of them."""
