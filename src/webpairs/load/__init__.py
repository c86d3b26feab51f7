"""Read finished datasets, of whatever origin, as the samples that the TFDS page describes."""
