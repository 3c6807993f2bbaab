"""Every claim of the papers, measured in the pocket world: which runs it takes, what is kept of them, what they say."""
