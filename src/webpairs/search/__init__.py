"""Find samples by what they look like or say: indexes over embeddings, and queries against them."""
