"""Text that stays bytes: compiled functions that check, cut and unescape UTF-8 outside of Python's lock.

As Python strings text would be decoded and encoded again by one thread at a time, since both hold the lock.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

Array = np.ndarray[Any, Any]
_NEWLINE, _BLANK, _STOP, _QUOTE, _BACKSLASH = 10, 32, 46, 34, 92
_BREAK = 0xFF


@numba.njit(cache=True, nogil=True)
def well_formed(data):  # type: ignore[no-untyped-def]
    """How many bytes there are up to the first that is no UTF-8 or the beginning of a character that is not complete."""
    place = 0
    while place < len(data):
        first = data[place]
        if first < 0x80:
            place += 1
            continue
        length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        if first < 0xC2 or first > 0xF4 or place + length > len(data):
            return place
        second = data[place + 1]
        # Overlong forms, surrogates and what lies beyond Unicode differ from the rest in their second byte.
        least = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        most = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        if second < least or second > most:
            return place
        for offset in range(2, length):
            if data[place + offset] & 0xC0 != 0x80:
                return place
        place += length
    return place


@numba.njit(cache=True, nogil=True)
def lowered_in_context(data):  # type: ignore[no-untyped-def]
    """Whether there is a dotted capital I or a capital sigma, which `corpus.ngrams` lowers in whole texts only."""
    found = False
    for place in range(len(data) - 1):
        first, second = data[place], data[place + 1]
        found |= ((first == 0xC4) & (second == 0xB0)) | ((first == 0xCE) & (second == 0xA3))
    return found


@numba.njit(cache=True, nogil=True)
def separated(data, ends):  # type: ignore[no-untyped-def]
    """The documents that end at some places with 0xFF between them."""
    out = np.empty(len(data) + len(ends) - 1, dtype=np.uint8)
    first = 0
    for number, end in enumerate(ends):
        out[first + number : end + number] = data[first:end]
        if number + 1 < len(ends):
            out[end + number] = _BREAK
        first = end
    return out


@numba.njit(cache=True, nogil=True)
def all_shown(data, ends):  # type: ignore[no-untyped-def]
    """Whether each of the documents has a character of ASCII that is no blank."""
    first = 0
    for end in ends:
        while first < end and not _BLANK < data[first] < 0x80:
            first += 1
        if first == end:
            return False
        first = end
    return True


@numba.njit(cache=True, nogil=True)
def _after(data, place, characters):  # type: ignore[no-untyped-def]
    """The place so many characters further on, or -1 where there are fewer."""
    while characters:
        if place >= len(data):
            return -1
        place += 1
        while place < len(data) and data[place] & 0xC0 == 0x80:
            place += 1
        characters -= 1
    return place


@numba.njit(cache=True, nogil=True)
def _last(data, first, end, mark, before):  # type: ignore[no-untyped-def]
    """The place after the last byte `mark` that follows a byte `before` (-1: any), both between two places; or -1."""
    for place in range(end - 1, first - (before < 0), -1):
        if data[place] == mark and (before < 0 or data[place - 1] == before):
            return place + 1
    return -1


@numba.njit(cache=True, nogil=True)
def cuts(data, longest):  # type: ignore[no-untyped-def]
    """Where `corpus.local` cuts well-formed text into documents of at most so many characters; the rest may be the last one."""
    found = [np.int64(0)]
    while True:
        middle = _after(data, found[-1], longest // 2)
        end = _after(data, middle, longest - longest // 2) if middle >= 0 else middle
        if end < 0 or end >= len(data):
            return np.array(found[1:], dtype=np.int64)
        place = _last(data, middle, end, _NEWLINE, _NEWLINE)
        if place < 0:
            place = _last(data, middle, end, _NEWLINE, -1)
        if place < 0:
            place = _last(data, middle, end, _BLANK, _STOP)
        if place < 0:
            place = _last(data, middle, end, _BLANK, -1)
        found.append(place if place >= 0 else end)


@numba.njit(cache=True, nogil=True)
def unescaped(data):  # type: ignore[no-untyped-def]
    """JSON strings, one 0xFF between them, as text with the same between them; its length, -1 for what is no plain string.

    What is no string, a surrogate without its other half and a string of nothing but white space or characters beyond ASCII
    are left to a slower reader. That the rest is JSON is taken for granted.
    """
    out = np.empty(len(data), dtype=np.uint8)
    place, size, shown = 0, 0, False
    while place < len(data):
        if data[place] != _QUOTE:
            return out, -1
        place, shown = place + 1, False
        while data[place] != _QUOTE:
            if data[place] != _BACKSLASH:
                shown |= _BLANK < data[place] < 0x80
                out[size] = data[place]
                place, size = place + 1, size + 1
                continue
            code, place = _escaped(data, place)
            if code < 0:
                return out, -1
            shown |= _BLANK < code < 0x80
            size = _encode(code, out, size)
        if not shown:
            return out, -1
        place += 1
        if place < len(data):
            out[size] = _BREAK
            place, size = place + 1, size + 1
    return out, size


@numba.njit(cache=True, nogil=True)
def _escaped(data, place):  # type: ignore[no-untyped-def]
    """The character of an escape that begins at a place, -1 for half a surrogate pair, and the place after it."""
    kind = data[place + 1]
    if kind == 117:  # u
        code = _hexadecimal(data, place + 2)
        place += 6
        if 0xD800 <= code < 0xE000:
            if code >= 0xDC00 or data[place] != _BACKSLASH or data[place + 1] != 117:
                return -1, place
            low = _hexadecimal(data, place + 2)
            if not 0xDC00 <= low < 0xE000:
                return -1, place
            return 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00, place + 6
        return code, place
    # b f n r t stand for control characters, quotes, backslash and slash for themselves.
    code = np.int64(kind)
    for letter, control in ((98, 8), (102, 12), (110, 10), (114, 13), (116, 9)):
        if kind == letter:
            code = control
    return code, place + 2


@numba.njit(cache=True, nogil=True)
def _hexadecimal(data, place):  # type: ignore[no-untyped-def]
    code = np.int64(0)
    for offset in range(4):
        digit = np.int64(data[place + offset])
        code = code * 16 + (digit - 48 if digit < 58 else (digit | 32) - 87)
    return code


@numba.njit(cache=True, nogil=True)
def _encode(code, out, size):  # type: ignore[no-untyped-def]
    """Write a character in UTF-8; the place after it. It is never longer than its escape."""
    if code < 0x80:
        out[size] = code
        return size + 1
    if code < 0x800:
        out[size], out[size + 1] = 0xC0 | code >> 6, 0x80 | code & 63
        return size + 2
    if code < 0x10000:
        out[size], out[size + 1], out[size + 2] = 0xE0 | code >> 12, 0x80 | code >> 6 & 63, 0x80 | code & 63
        return size + 3
    out[size], out[size + 1] = 0xF0 | code >> 18, 0x80 | code >> 12 & 63
    out[size + 2], out[size + 3] = 0x80 | code >> 6 & 63, 0x80 | code & 63
    return size + 4
