"""Finished datasets: opened, filtered, ordered and loaded."""
