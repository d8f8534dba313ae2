"""Embeddings that were computed elsewhere, as a dataset."""
