"""Whether a teacher's sentence gives the answer away."""
