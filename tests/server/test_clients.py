"""Clients that others wrote: OpenAI's own, and lm-evaluation-harness' `local-completions`."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from selftaught import compute
from selftaught.server.limits import Limits
from tests.server.conftest import models, serving

openai = pytest.importorskip("openai", reason="the openai client is not installed")
LOADED = models()


def client(server, key="-"):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def test_openai_completes_and_streams(server):
    with client(server) as api:
        assert [model.id for model in api.models.list()] == ["1x8", "2x16"]
        assert api.models.retrieve("2x16").owned_by == "selftaught"
        asked = {"model": "2x16", "prompt": "the foo", "max_tokens": 30, "seed": 5, "temperature": 0.9}
        answer = api.completions.create(**asked, n=2, logprobs=3, echo=True, stop=["zz", "qq"])
        assert [choice.index for choice in answer.choices] == [0, 1]
        first = answer.choices[0]
        assert first.finish_reason in ("stop", "length")
        assert first.text.startswith("the foo")
        assert first.logprobs.token_logprobs[0] is None
        assert len(first.logprobs.tokens) == len(first.logprobs.text_offset) == len(first.logprobs.top_logprobs)
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
        assert first.text == "the foo" + LOADED["2x16"].generate(
            "the foo", max_new_tokens=30, seed=5, temperature=0.9, top_k=0, stop=["zz", "qq"]
        )
        plain = api.completions.create(**asked).choices[0]
        parts = list(api.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        assert "".join(part.choices[0].text for part in parts[:-1]) == plain.text
        assert parts[-1].usage.completion_tokens > 0
        assert (
            api.completions.create(**asked, extra_body={"top_k": 1}).choices[0].text
            == api.completions.create(**{**asked, "temperature": 0}).choices[0].text
        )


def test_openai_is_told_what_is_wrong(server):
    with client(server) as api:
        with pytest.raises(openai.NotFoundError, match="no model 'gpt-4'"):
            api.completions.create(model="gpt-4", prompt="the")
        with pytest.raises(openai.BadRequestError, match="max_tokens") as wrong:
            api.completions.create(model="2x16", prompt="the", max_tokens=10**9)
        assert wrong.value.param == "max_tokens"
    with serving(Limits(slots=1), key="sesame") as locked:
        with client(locked, "wrong") as api, pytest.raises(openai.AuthenticationError):
            api.models.list()
        with client(locked, "sesame") as api:
            assert api.completions.create(model="1x8", prompt="the", max_tokens=1).choices


def test_openai_leaves_a_stream(server):
    with client(server) as api:
        stream = api.completions.create(model="2x16", prompt="the", max_tokens=2000, temperature=0, stream=True)
        assert next(iter(stream)).choices
        stream.close()
    assert server.settles()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-evaluation-harness is not installed")
@pytest.mark.parametrize("as_ids", [True, False])
def test_the_harness_finds_what_we_find(server, tmp_path, as_ids):
    """A task of choices and one of generation, through lm_eval's own command; ids by the server's tokenizer."""
    texts = ["the foo the", "foo foo the", "oo the foo", "the the", "foo", "the foo foo foo"]
    rows = [{"context": text, "choices": [" the", " foo", " oo"], "gold": n % 3} for n, text in enumerate(texts)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shared = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "data.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{context}}",
        "target_delimiter": "",
        "num_fewshot": 0,
    }
    choosing = {
        **shared,
        "task": "choosing",
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    writing = {
        **shared,
        "task": "writing",
        "output_type": "generate_until",
        "doc_to_target": "{{context}}",
        "generation_kwargs": {"until": ["zzz"], "max_gen_toks": 7, "do_sample": False, "temperature": 0},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    for task in (choosing, writing):
        (tmp_path / f"{task['task']}.yaml").write_text(json.dumps(task))
    arguments = {
        "model": "2x16",
        "base_url": f"{server.url}/v1/completions",
        "tokenizer_backend": "remote",
        "tokenized_requests": as_ids,
        "max_length": 32,
        "num_concurrent": 3,
    }
    command = [
        *(
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "lm_eval",
            "run",
            "--model",
            "local-completions",
            "--tasks",
            "choosing,writing",
        ),
        *(
            "--include_path",
            str(tmp_path),
            "--output_path",
            str(tmp_path / "out"),
            "--log_samples",
            "--batch_size",
            "2",
        ),
        *("--model_args", json.dumps(arguments)),
    ]
    environment = compute.environment_with({"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]

    def samples(task):
        (path,) = (tmp_path / "out").rglob(f"samples_{task}_*.jsonl")
        return sorted(map(json.loads, path.read_text().splitlines()), key=lambda row: row["doc_id"])

    for row, told in zip(rows, samples("choosing"), strict=True):
        ours = LOADED["2x16"].log_probs([(row["context"], choice) for choice in row["choices"]])
        found = [float(response[0][0]) for response in told["resps"]]
        assert found == pytest.approx([one.total for one in ours], abs=1e-3)
        assert [response[0][1] in (True, "True") for response in told["resps"]] == [all(one.greedy) for one in ours]
    for row, told in zip(rows, samples("writing"), strict=True):
        expected = LOADED["2x16"].generate(row["context"], max_new_tokens=7, temperature=0)
        assert told["resps"][0][0] == expected
