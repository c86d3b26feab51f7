"""Datasets written again for another loader."""
