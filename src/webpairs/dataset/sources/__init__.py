"""A reader for each layout of a dataset's folder."""
