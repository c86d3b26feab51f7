"""Datasets described: summary, card and Croissant."""
