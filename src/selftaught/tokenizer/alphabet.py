"""GPT-2's byte alphabet: each of the 256 bytes written as one printable character, as in its vocabulary files."""

from __future__ import annotations


def _alphabet() -> dict[int, str]:
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}


BYTE_TO_CHARACTER = _alphabet()
"""In the order of GPT-2's ids: printable bytes first, so that `!` is token 0 and the blank is token 220."""
BYTES_IN_ORDER = tuple(BYTE_TO_CHARACTER)
"""The byte that token id 0, 1, ... 255 stands for."""


_OUTSIDE = 0xFFFF
"""What a sign outside the alphabet is read as: no byte, so that encoding it as Latin-1 fails."""


class _Reading(dict[int, int]):
    def __missing__(self, _sign: int) -> int:
        return _OUTSIDE


_WRITING = {byte: ord(character) for byte, character in BYTE_TO_CHARACTER.items()}
_READING = _Reading({ord(character): byte for byte, character in BYTE_TO_CHARACTER.items()})


def written(token: bytes) -> str:
    """A token as its vocabulary file writes it: `Ġthe` for b" the"."""
    return token.decode("latin-1").translate(_WRITING)


def unwritten(token: str) -> bytes:
    """The bytes of a token in a vocabulary file. Raises ValueError for a sign outside the alphabet."""
    return token.translate(_READING).encode("latin-1")
