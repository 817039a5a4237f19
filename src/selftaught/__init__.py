"""selftaught: the two first GPT papers as one working system, from web pages to zero-shot results."""

__version__ = "0.1.0"
