"""The network of both papers, its shapes, its cache and its costs."""
