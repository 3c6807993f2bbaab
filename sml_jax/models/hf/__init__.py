"""Models on disk: our own folders and those of Hugging Face."""
