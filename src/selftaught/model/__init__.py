"""The network of both papers: its shape, its computation, its cache, its first weights and what it costs."""
