"""Tokenizer: ours beside tiktoken and Hugging Face's tokenizers, on the same text with the same vocabulary.

    python bench/tokenizer.py [--quick] [--json FILE] 

The vocabulary is GPT-2's where its two files lie in the folder that SELFTAUGHT_GPT2 names or in ../shared/data/vocab/gpt2,
else one that we learn here; the text is that of ../shared/data/text or else Python's own documentation and sources. Rates are
megabytes of UTF-8 a second of processor time (all threads added). Every contender's ids are compared before it is timed.
"""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from side_by_side import SideBySide, Work

from selftaught import compute, storage
from selftaught.tokenizer.alphabet import written
from selftaught.tokenizer.files import ENCODER_FILE, MERGES_FILE
from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.pieces import PATTERN
from selftaught.tokenizer.tokenizer import Tokenizer

DATA = Path(__file__).parents[2] / "shared" / "data"
SPECIAL = "<|endoftext|>"
