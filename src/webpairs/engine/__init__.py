"""Engines map a stage, a pure function of one unit, over its units."""
