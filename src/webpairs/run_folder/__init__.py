"""The run folder: what is on disk, for those who write it and those who read it."""
