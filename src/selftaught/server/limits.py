"""What the server lets itself be asked for, so that it slows down or refuses instead of falling over."""

from __future__ import annotations

from dataclasses import dataclass

from selftaught.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Most of everything; a request beyond it is answered with 4xx and a line that says so."""

    slots: int = 8
    """Texts that a model writes side by side; the memory for all of them is taken at the start."""
    waiting: int = 64
    """Texts that may wait for a slot; then the answer is 429 with Retry-After."""
    prompt_tokens: int = 16384
    """Tokens of one prompt. The model reads as many of the last ones as its context holds."""
    max_tokens: int = 2048
    """Tokens to draw for one text."""
    texts: int = 64
    """Texts of one request: its prompts times n."""
    body_bytes: int = 4 << 20
    """Bytes of a request."""
    seconds: float = 300.0
    """Time for a text from its request to its last token; then it ends where it is."""
    body_seconds: float = 20.0
    """Time for a request to arrive."""
    grace_seconds: float = 5.0
    """Time for texts to end when the server is told to stop."""

    def __post_init__(self) -> None:
        """Refuse limits under which nothing could be asked."""
        for name in ("slots", "prompt_tokens", "max_tokens", "texts", "body_bytes", "seconds", "body_seconds"):
            if not getattr(self, name) > 0:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} lets nothing through", expected="more than 0", got=str(getattr(self, name)))
        for name in ("waiting", "grace_seconds"):
            if not getattr(self, name) >= 0:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} is too small", expected="0 or more", got=str(getattr(self, name)))

    def capacity(self) -> int:
        """Texts that a model has or keeps waiting at a time."""
        return self.slots + self.waiting
