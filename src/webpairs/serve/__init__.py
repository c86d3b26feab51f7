"""Serving datasets: a page to search them, an API, and the dialect of clip-retrieval's clients."""
