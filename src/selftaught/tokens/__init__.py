"""Documents as memory-mapped token shards, and batches as a pure function of them."""
