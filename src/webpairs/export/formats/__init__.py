"""A file for each format of an export."""
