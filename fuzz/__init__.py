"""Fuzzing of what reads other people's texts and files: `python -m fuzz.run --help`, docs/fuzzing.md."""
