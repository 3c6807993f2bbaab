"""Whether a run fits its devices' memory, told before its first step, and the settings that make it fit."""
