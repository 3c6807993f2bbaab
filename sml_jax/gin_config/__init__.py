"""From gin files and command-line overrides to objects, with errors that name the cure."""
