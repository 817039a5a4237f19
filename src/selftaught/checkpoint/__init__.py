"""Weights on the disk: our own folders, Hugging Face's both ways, and one function that finds out which it is."""
