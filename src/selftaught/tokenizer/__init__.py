"""Text <-> token ids: GPT-2's byte-level BPE, read, learned and written."""
