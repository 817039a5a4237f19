from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.errors import InputError, UsageError
from selftaught.finetuning import inputs
from selftaught.finetuning.inputs import Encoded, Encoder, Specials
from selftaught.tasks.labelled import Labelled
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference import finetuning

TOKENIZER = Tokenizer(files.from_merges([(b"t", b"h"), (b"th", b"e"), (b" ", b"the")]))
SPECIALS = Specials.after(TOKENIZER.vocabulary_size)
START, DELIMITER, EXTRACT = SPECIALS.start, SPECIALS.delimiter, SPECIALS.extract


def rows(kind, context=64, **parts):
    example = Labelled(id="1", first="the cat", label=0, **parts)
    return Encoder(TOKENIZER, kind, SPECIALS, context).encode(example).rows


def text(row):
    marks = {START: "<", DELIMITER: "|", EXTRACT: ">"}
    return "".join(marks.get(number) or TOKENIZER.decode([number]) for number in row)


def test_each_kind_of_input_is_the_papers():
    assert [text(row) for row in rows("classification")] == ["<the cat>"]
    assert [text(row) for row in rows("entailment", second="sat")] == ["<the cat|sat>"]
    assert [text(row) for row in rows("similarity", second="sat")] == ["<the cat|sat>", "<sat|the cat>"]
    answers = rows("choice", second="who?", options=("he", "she", "it"))
    assert [text(row) for row in answers] == ["<the cat who?|he>", "<the cat who?|she>", "<the cat who?|it>"]
    assert [text(row) for row in rows("choice", options=("a", "b"))] == ["<the cat|a>", "<the cat|b>"]


@given(st.lists(st.lists(st.integers(0, 9), max_size=30), min_size=1, max_size=3), st.integers(0, 60))
def test_truncation_is_its_slow_twin(parts, room):
    assert inputs.truncated(parts, room) == finetuning.truncated(parts, room)


@pytest.mark.parametrize("kind", ["classification", "entailment", "similarity", "choice"])
def test_long_inputs_keep_the_special_tokens_and_are_counted(kind):
    encoder = Encoder(TOKENIZER, kind, SPECIALS, 10)
    more = {"classification": {}, "choice": {"second": "why?" * 9, "options": ("no" * 9, "b")}}.get(
        kind, {"second": "z" * 50}
    )
    found = encoder.encode(Labelled(id="1", first="x" * 50, label=0, **more))
    for row in found.rows:
        assert (len(row), row[0], row[-1]) == (10, START, EXTRACT)
        assert row.count(DELIMITER) == (kind != "classification")
    lengths = {"classification": 50, "entailment": 100, "similarity": 200, "choice": 2 * (50 + 37) + 18 + 1}
    kept = sum(len(row) - 2 - row.count(DELIMITER) for row in found.rows)
    assert found.dropped == lengths[kind] - kept
    assert "1 of 1" in inputs.truncation_note([found], "train")
    assert not inputs.truncation_note([encoder.encode(Labelled(id="1", first="a", second="b", options=("c", "d")))], "")


def test_a_context_without_room_is_refused():
    with pytest.raises(UsageError, match="context"):
        Encoder(TOKENIZER, "classification", SPECIALS, 4)


def test_an_epoch_shows_each_example_once_in_an_order_of_its_own():
    lengths = [number % 17 for number in range(1000)]
    first = inputs.epoch_order(lengths, 32, seed=1, epoch=0)
    assert {len(batch) for batch in first} == {32}
    assert len(first) == 1000 // 32
    shown = [number for batch in first for number in batch]
    assert len(set(shown)) == len(shown)
    assert first == inputs.epoch_order(lengths, 32, seed=1, epoch=0)
    assert first != inputs.epoch_order(lengths, 32, seed=1, epoch=1)
    assert first != inputs.epoch_order(lengths, 32, seed=2, epoch=0)
    spread = [max(lengths[n] for n in batch) - min(lengths[n] for n in batch) for batch in first]
    assert sum(spread) / len(spread) < 2  # 16 if batches were drawn without regard to length
    left_out = set(range(1000)) - set(shown)
    again = {number for batch in inputs.epoch_order(lengths, 32, seed=1, epoch=1) for number in batch}
    assert left_out != set(range(1000)) - again


def test_fewer_examples_than_a_batch_are_one_batch():
    assert sorted(inputs.epoch_order([3, 1, 2], 32, seed=1, epoch=0)[0]) == [0, 1, 2]


def encoded(*lengths, count=1):
    return [Encoded(rows=((7,) * length,) * count, label=1) for length in lengths]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 200), st.integers(1, 3))
def test_parts_of_a_batch_hold_everything_once_and_are_not_larger_than_asked(lengths, tokens, count):
    examples = encoded(*lengths, count=count)
    parts = inputs.micro_batches(examples, tokens)
    assert [one for part in parts for one in part] == examples
    orders = inputs.by_length(examples, tokens)
    assert sorted(number for part in orders for number in part) == list(range(len(examples)))
    for part in [*parts, *([examples[number] for number in order] for order in orders)]:
        assert len(part) == 1 or len(part) * count * max(one.length for one in part) <= tokens


def test_collating_pads_on_the_right():
    batch = inputs.collate(encoded(2, 3, count=2), padding=99)
    assert batch.ids.tolist() == [[7, 7, 99], [7, 7, 99], [7, 7, 7], [7, 7, 7]]
    assert (batch.lengths.tolist(), batch.labels.tolist(), batch.examples) == ([2, 2, 3, 3], [1, 1], 2)


def test_different_numbers_of_answers_are_refused():
    encoder = Encoder(TOKENIZER, "choice", SPECIALS, 32)
    examples = [Labelled(id=str(n), first="a", options=("b",) * n, label=0) for n in (2, 3)]
    with pytest.raises(InputError, match=r"different numbers.*2, 3"):
        inputs.encode_all(encoder, examples, "train")
    with pytest.raises(InputError, match="no examples"):
        inputs.encode_all(encoder, [], "train")
