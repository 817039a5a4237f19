"""The API over a real connection."""

from __future__ import annotations

import json
import statistics
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.inference.rules import SamplingSettings
from selftaught.model.transformer import Watch
from tests.server.conftest import TOKENIZER, models, serving

LOADED = models()


def events(answer):
    """Documents of a stream; the last line must say that it is done."""
    lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def streamed(server, **body):
    with server.client.stream("POST", "/v1/completions", json={"stream": True, **body}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return events(answer)


@pytest.mark.parametrize("name", ["1x8", "2x16"])
@pytest.mark.parametrize("body", [{}, {"temperature": 0}, {"top_k": 3, "temperature": 2.0, "top_p": 0.9}])
def test_the_text_is_the_one_of_generate(server, name, body):
    told = server.ask(model=name, prompt="the foo", max_tokens=40, seed=7, **body)
    rules = SamplingSettings(**{"top_k": 0, **body})
    expected = "".join(LOADED[name].stream("the foo", max_new_tokens=40, sampling=rules, seed=7))
    assert told["choices"][0]["text"] == expected
    assert (told["object"], told["model"]) == ("text_completion", name)
    assert told["usage"]["prompt_tokens"] == len(TOKENIZER.encode("the foo"))
    assert told["choices"][0]["logprobs"] is None


def test_many_prompts_and_samples_come_in_order(server):
    told = server.ask(prompt=["the", "foo", [5, 6]], n=2, max_tokens=12, seed=3)
    assert [one["index"] for one in told["choices"]] == list(range(6))
    for number, prompt in enumerate(["the", "foo", [5, 6]]):
        for sample in range(2):
            alone = server.ask(prompt=prompt, max_tokens=12, seed=3 + sample)
            assert alone["choices"][0]["text"] == told["choices"][2 * number + sample]["text"]


def test_a_seed_repeats_a_text_whatever_the_company(server):
    body = {"prompt": "the", "max_tokens": 60, "seed": 11, "logprobs": 2}
    alone = server.ask(**body)["choices"]
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.ask(**body)["choices"])) for _ in range(6)] + [
        threading.Thread(target=server.ask, kwargs={"prompt": "foo" * n, "max_tokens": 9 * n}) for n in range(1, 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [alone] * 6  # log-probabilities to the last bit


def test_without_a_seed_texts_differ(server):
    """Of four answers of three texts each: a text may well be empty, but two answers are alike once in 2**31 at most."""
    told = [server.ask(prompt="the", max_tokens=40, n=3)["choices"] for _ in range(4)]
    assert len({tuple(choice["text"] for choice in choices) for choices in told}) >= 3


def test_an_event_is_one_line_to_those_whose_lines_end_at_any_of_unicodes_signs(server):
    signs = "the\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029 é🙂"
    assert len(signs.splitlines()) > 9
    told = streamed(server, prompt=signs, echo=True, max_tokens=1, temperature=0)
    assert "".join(part["choices"][0]["text"] for part in told).startswith(signs)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    echo=st.booleans(),
    logprobs=st.sampled_from([None, 0, 2]),
    stop=st.lists(st.sampled_from(["e", "oo", "\ufffd", "the f", "zzz"]), max_size=2),
)
def test_a_stream_says_what_an_answer_does(server, seed, echo, logprobs, stop):
    body = {
        "prompt": ["the é", "🙂"],
        "max_tokens": 30,
        "seed": seed,
        "temperature": 3,
        "echo": echo,
        "logprobs": logprobs,
        "stop": stop,
    }
    whole = server.ask(**body)
    parts = streamed(server, **body, stream_options={"include_usage": True})
    assert parts.pop()["usage"] == whole["usage"]
    assert all(part["usage"] is None for part in parts)
    for number, choice in enumerate(whole["choices"]):
        mine = [part["choices"][0] for part in parts if part["choices"][0]["index"] == number]
        assert "".join(part["text"] for part in mine) == choice["text"]
        assert [part["finish_reason"] for part in mine] == [None] * (len(mine) - 1) + [choice["finish_reason"]]
        assert not echo or choice["text"].startswith(["the é", "🙂"][number])
        for name in choice["logprobs"] or ():
            assert [value for part in mine for value in part["logprobs"][name]] == choice["logprobs"][name]
        assert not any(one in choice["text"][5 if echo else 0 :] for one in stop)


def test_the_best_of_some_texts_are_the_likeliest(server):
    body = {"prompt": ["the", "foo"], "max_tokens": 12, "seed": 7, "logprobs": 0}
    every = server.ask(**body, n=4)["choices"]
    told = server.ask(**body, n=2, best_of=4)
    chances = [statistics.fmean(choice["logprobs"]["token_logprobs"]) for choice in every]
    expected = [
        number for group in (range(4), range(4, 8)) for number in sorted(group, key=lambda one: -chances[one])[:2]
    ]
    assert [choice["text"] for choice in told["choices"]] == [every[number]["text"] for number in expected]
    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2, 3]
    assert told["usage"]["completion_tokens"] >= 4 * 12


def test_streams_end_no_piece_within_a_character(server):
    """Random text of a byte-level model is full of bytes that are no characters; those it can form must come whole."""
    for seed in range(5):
        parts = streamed(server, prompt="🙂", max_tokens=60, seed=seed, temperature=100)
        text = "".join(part["choices"][0]["text"] for part in parts)
        assert text == LOADED["2x16"].generate("🙂", max_new_tokens=60, seed=seed, temperature=100, top_k=0)


def test_log_probabilities_are_the_models(server):
    told = server.ask(prompt="the foo the", echo=True, logprobs=3, max_tokens=0)["choices"][0]
    found, scored = told["logprobs"], LOADED["2x16"].log_prob("the", " foo the")
    assert told["text"] == "the foo the"
    assert told["finish_reason"] == "length"
    assert "".join(found["tokens"]) == "the foo the"
    assert found["token_logprobs"][0] is None is found["top_logprobs"][0]
    assert found["token_logprobs"][1:] == pytest.approx(list(scored.by_token), abs=1e-4)
    for own, top, greedy in zip(found["token_logprobs"][1:], found["top_logprobs"][1:], scored.greedy, strict=True):
        assert (max(top.values()) == own) == greedy
        assert len(top) in {3, 4}  # the token itself is there too, as in OpenAI's
        assert own in top.values()
    for token, offset in zip(found["tokens"], found["text_offset"], strict=True):
        assert "the foo the"[offset:].startswith(token)


def test_tokens_lie_where_their_offsets_say(server):
    told = server.ask(prompt="the", max_tokens=40, logprobs=1, temperature=0)["choices"][0]
    text = "the" + told["text"]
    for token, offset in zip(told["logprobs"]["tokens"], told["logprobs"]["text_offset"], strict=True):
        assert token.startswith("bytes:") or text[offset:].startswith(token)
    again = server.ask(prompt=[*TOKENIZER.encode("the"), *told["logprobs"]["ids"]], echo=True, max_tokens=0)
    assert again["choices"][0]["text"] == text


def test_one_can_go_on_from_another_token(server):
    prompt = TOKENIZER.encode("the")
    told = server.ask(prompt=prompt, max_tokens=6, logprobs=4, seed=2)["choices"][0]["logprobs"]
    for row, top, name in zip(told["alternatives"], told["top_logprobs"], told["tokens"], strict=True):
        assert list(top) == list(dict.fromkeys([*(name for _, name, _ in row), name]))
    other, value = next((token, value) for token, _, value in told["alternatives"][3] if token != told["ids"][3])
    ids = [*prompt, *told["ids"][:3], other]
    scored = server.ask(prompt=ids, max_tokens=0, echo=True, logprobs=1)["choices"][0]["logprobs"]
    assert scored["ids"] == ids
    assert scored["token_logprobs"][-1] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize(
    ("prompt", "tokens"), [("", 1), (None, 1), ("<|endoftext|>", 1), ([], 1), ("a <|endoftext|>", 15)]
)
def test_nothing_stands_for_the_beginning_of_a_document(server, prompt, tokens):
    told = server.ask(prompt=prompt, max_tokens=5, temperature=0)
    assert told["usage"]["prompt_tokens"] == tokens
    if tokens == 1:
        assert told["choices"][0]["text"] == LOADED["2x16"].generate("", max_new_tokens=5, temperature=0)


def test_a_stop_string_is_found_wherever_the_window_slides(server):
    text = LOADED["2x16"].generate("the", max_new_tokens=90, temperature=0)
    for place in range(0, len(text) - 3, 3):
        told = server.ask(prompt="the", max_tokens=90, temperature=0, stop=text[place : place + 3])
        assert told["choices"][0]["text"] == text[: text.find(text[place : place + 3])]


def test_a_text_outgrows_the_context(server):
    told = server.ask(prompt="the foo " * 30, max_tokens=100, temperature=0)
    assert told["choices"][0]["text"] == LOADED["2x16"].generate("the foo " * 30, max_new_tokens=100, temperature=0)


def test_a_bias_bars_and_forces_tokens(server):
    plain = server.ask(prompt="the", max_tokens=20, temperature=0, logprobs=0)["choices"][0]["logprobs"]["ids"]
    bias = {str(plain[0]): -100, str(TOKENIZER.end_of_text): -100}
    barred = server.ask(prompt="the", max_tokens=20, temperature=0, logprobs=0, logit_bias=bias)["choices"][0]
    assert plain[0] not in barred["logprobs"]["ids"]
    assert len(barred["logprobs"]["ids"]) == 20
    forced = server.ask(prompt="the", max_tokens=3, logprobs=0, logit_bias={"70": 100})["choices"][0]["logprobs"]
    assert forced["ids"] == [70] * 3
    alone = server.ask(prompt=[*TOKENIZER.encode("the"), 70], max_tokens=0, echo=True, logprobs=0)["choices"][0]
    assert forced["token_logprobs"][0] == pytest.approx(alone["logprobs"]["token_logprobs"][-1], abs=1e-4)


def test_models_are_listed_with_their_shapes(server):
    listed = server.client.get("/v1/models").json()
    assert [(one["id"], one["layers"], one["heads"], one["context"]) for one in listed["data"]] == [
        ("1x8", 1, 1, 32),
        ("2x16", 2, 2, 32),
    ]
    assert server.client.get("/v1/models/1x8").json() == listed["data"][0]
    assert server.client.get("/v1/models/none").status_code == 404
    assert server.client.get("/healthz").json() == {"status": "ok", "models": ["1x8", "2x16"]}


def test_metrics_count(server):
    def measured(name):
        lines = server.client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    with serving() as fresh:
        assert 'selftaught_drawn_tokens_total{model="2x16"} 0.0\n' in fresh.client.get("/metrics").text
    before = measured("selftaught_drawn_tokens_total")
    server.ask(prompt="the", max_tokens=9, temperature=0)
    assert measured("selftaught_drawn_tokens_total") == before + 9
    assert measured('selftaught_slots{model="1x8"}') == 3
    assert measured("selftaught_slots_in_use") == 0
    assert measured("process_resident_memory_bytes") > 1e6


@pytest.mark.parametrize("name", ["1x8", "2x16"])
def test_attention_is_the_models(server, name):
    model, ids = LOADED[name].model, TOKENIZER.encode("the foo the foo 🙂")
    watch = Watch()
    model(torch.tensor([ids]), watch=watch)
    for layer in range(model.shape.layers):
        for head in range(model.shape.heads):
            body = {"model": name, "prompt": ids, "layer": layer, "head": head}
            told = server.client.post("/v1/attention", json=body).json()
            assert told["weights"] == pytest.approx(watch.attention[layer][0, head, -1].tolist(), abs=1e-4)
            assert told["ids"] == ids
    assert server.client.post("/v1/attention", json={"prompt": "t"}).json()["weights"] == [1.0]


def test_text_and_ids_are_turned_into_each_other(server):
    ids = server.client.post("/tokenize", json={"prompt": "the foo 🙂", "add_special_tokens": False}).json()["tokens"]
    assert ids == TOKENIZER.encode("the foo 🙂")
    assert server.client.post("/detokenize", json={"tokens": ids}).json()["prompt"] == "the foo 🙂"
    end = server.client.get("/tokenizer_info").json()["eos_token"]
    assert server.client.post("/tokenize", json={"prompt": end}).json()["tokens"] == [TOKENIZER.end_of_text]


WRONG = {
    "not JSON": (b"{", 400, None),
    "not an object": (b"[1]", 400, None),
    "nested without end": (b"[" * 100_000, 400, None),
    "not UTF-8": (b'{"prompt": "\xff"}', 400, None),
    "half a surrogate pair": (b'{"prompt": "\\ud800"}', 400, None),
    "unknown name": ({"prompt": "a", "max_token": 3}, 400, "max_token"),
    "wrong type": ({"prompt": "a", "max_tokens": "3"}, 400, "max_tokens"),
    "too many tokens": ({"prompt": "a", "max_tokens": 10**6}, 400, "max_tokens"),
    "fewer than none": ({"prompt": "a", "max_tokens": -1}, 400, "max_tokens"),
    "temperature": ({"prompt": "a", "temperature": -1}, 400, "temperature"),
    "infinite": (b'{"prompt": "a", "temperature": 1e999}', 400, "temperature"),
    "huge": (b'{"prompt": "a", "temperature": 1' + b"0" * 5000 + b"}", 400, "temperature"),
    "top_p": ({"prompt": "a", "top_p": 0}, 400, "top_p"),
    "logprobs": ({"prompt": "a", "logprobs": 21}, 400, "logprobs"),
    "stop": ({"prompt": "a", "stop": ""}, 400, "stop"),
    "stops": ({"prompt": "a", "stop": ["a"] * 17}, 400, "stop"),
    "id": ({"prompt": [10**6]}, 400, "prompt"),
    "negative id": ({"prompt": [-1]}, 400, "prompt"),
    "mixed": ({"prompt": ["a", 1]}, 400, "prompt"),
    "n": ({"prompt": "a", "n": 10**9}, 400, "n"),
    "too many texts": ({"prompt": ["a"] * 9, "n": 8}, 400, "n"),
    "long": ({"prompt": "a" * 20_000}, 400, "prompt"),
    "long echo": ({"prompt": "a" * 33, "echo": True, "logprobs": 1}, 400, "prompt"),
    "seed": (b'{"prompt": "a", "seed": 1' + b"0" * 5000 + b"}", 400, "seed"),
    "suffix": ({"prompt": "a", "suffix": "b"}, 400, "suffix"),
    "bias": ({"prompt": "a", "logit_bias": {"50256": -100}}, 400, "logit_bias"),
    "bias of no id": ({"prompt": "a", "logit_bias": {"the": 1}}, 400, "logit_bias"),
    "too much bias": ({"prompt": "a", "logit_bias": {"5": 101}}, 400, "logit_bias"),
    "best of fewer": ({"prompt": "a", "n": 3, "best_of": 2}, 400, "best_of"),
    "best of a stream": ({"prompt": "a", "best_of": 3, "stream": True}, 400, "best_of"),
    "model": ({"prompt": "a", "model": "gpt-4"}, 404, "model"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_named(server, name):
    body, status, param = WRONG[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = server.client.post("/v1/completions", content=content)
    problem = answer.json()["error"]
    assert (answer.status_code, problem["param"]) == (status, param)
    assert problem["message"]
    assert problem["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"temperature": -1}, "temperature: expected float >= 0.0, got -1"),
        ({"n": "3"}, "n: expected int | null, got str"),
        ({"stop": ["a", "b" * 5000]}, 'stop[1]: expected str of length <= 512, got "' + "b" * 59),
        ({"logit_bias": {"the": 1}}, "logit_bias: expected int, got str"),
        ({"logit_bias": {"5": 101}}, 'logit_bias[...]: expected float <= 100.0, got {"5":101}'),
        ({"prompt": [1, None]}, "prompt[1]: expected int | str | array, got null"),
        ({"stream_options": {"include": True}}, "Object contains unknown field include"),
        ([1], "Expected object, got array"),
    ],
)
def test_mistakes_say_what_was_expected_and_what_came(server, body, told):
    assert server.client.post("/v1/completions", json=body).json()["error"]["message"] == told


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/nothing", 404),
        ("POST", "/v1/chat/completions", 404),
        ("GET", "/v1/models/../../etc/passwd", 404),
    ],
)
def test_other_paths_and_methods_are_problems_too(server, method, path, status):
    answer = server.client.request(method, path)
    assert answer.status_code == status
    told = answer.json()["error"]["message"]
    assert path.partition("..")[0].strip("/") in told or "chat" in told
    if status == 405:
        assert answer.headers["allow"] in told


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": ""},
        {"prompt": [999]},
        {"prompt": "a" * 33},
        {"prompt": "a", "layer": 2},
        {"prompt": "a", "head": 2},
        {"prompt": "a", "head": -1},
        {},
    ],
)
def test_attention_that_there_is_not_is_refused(server, body):
    answer = server.client.post("/v1/attention", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
FIELDS = [
    *("prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "n", "best_of", "stream", "logprobs", "echo"),
    *("stop", "seed", "model", "suffix", "user", "stream_options", "frequency_penalty", "repetition_penalty", "other"),
]
SENSIBLE = {
    "prompt": st.text(max_size=6)
    | st.lists(st.integers(0, 300), max_size=5)
    | st.lists(st.text(max_size=3), max_size=3),
    "max_tokens": st.integers(0, 8),
    "temperature": st.floats(0, 101),
    "top_p": st.floats(0, 1),
    "min_p": st.floats(0, 1),
    "top_k": st.integers(0, 300),
    "n": st.integers(1, 3),
    "stream": st.booleans(),
    "logprobs": st.integers(0, 21),
    "echo": st.booleans(),
    "stop": st.text(max_size=2) | st.lists(st.text(max_size=2), max_size=3),
    "seed": st.integers(),
    "frequency_penalty": st.floats(-2, 2),
    "repetition_penalty": st.floats(0, 100),
    "model": st.sampled_from(["1x8", "2x16", "gpt-4"]),
}


@settings(max_examples=80)
@given(
    sensible=st.fixed_dictionaries({}, optional=SENSIBLE),
    wild=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=2),
)
def test_no_request_makes_the_server_fail(server, sensible, wild):
    body = {"max_tokens": 3, **sensible, **wild}
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    answer = server.client.post("/v1/completions", content=content)
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code == 200 and body.get("stream") is True:
        assert answer.text.endswith("data: [DONE]\n\n")
        assert '"error"' not in answer.text
    else:
        assert ("error" in answer.json()) == (answer.status_code != 200)


@settings(max_examples=25)
@given(
    path=st.sampled_from(["/v1/completions", "/v1/attention", "/tokenize", "/detokenize"]), body=st.binary(max_size=40)
)
def test_no_bytes_make_the_server_fail(server, path, body):
    assert 400 <= server.client.post(path, content=body).status_code < 500


@settings(max_examples=25)
@given(body=st.dictionaries(st.sampled_from(["prompt", "tokens", "layer", "head", "model"]), JSON, max_size=4))
def test_no_question_makes_the_server_fail(server, body):
    for path in ("/v1/attention", "/tokenize", "/detokenize"):
        content = json.dumps(body).encode()
        assert server.client.post(path, content=content).status_code in (200, 400, 404)
