"""The peers of bench/generation.py: each continues the same prompts greedily with the same weights.

Run by itself this file does nothing. A peer is made from a Hugging Face folder of the network or from the network; one that is
not installed is left out. CTranslate2, OpenVINO and llama.cpp are best installed into a virtual environment of their own that
sees this project's packages, without dependencies, so that torch stays as it is:

    pip install --no-deps ctranslate2 openvino openvino-telemetry nncf gguf llama-cpp-python diskcache
"""

from __future__ import annotations

import ctypes
import importlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from selftaught.inference.recasting import WeightFormat
from selftaught.model.cache import Cache
from selftaught.model.transformer import Transformer
from side_by_side import SideBySide

Ids = list[list[int]]
Generate = Callable[[Ids, int], Ids]
"""Prompts of equal length and a number of new tokens -> the new tokens of each."""


def format_of(peer: str) -> WeightFormat:
    """The format of weights that a contender's name tells."""
    name = peer.lower()
    return "int8" if "int8" in name or "q8" in name else "bfloat16" if "bf" in name else "float32"


def peers(
    bench: SideBySide, model: Transformer, folder: Path, threads: int, formats: Sequence[WeightFormat]
) -> dict[str, Generate]:
    """Every peer there is with weights in some formats, by name."""
    makers: dict[str, Callable[[], Generate]] = {"loop without cache, float32": partial(_without_cache, model)}
    if transformers := bench.peer("transformers"):
        for dtype in (torch.float32, torch.bfloat16):
            name = f"transformers, {str(dtype).removeprefix('torch.')}"
            makers[name] = partial(_transformers, transformers, folder, dtype)
    if ctranslate2 := bench.peer("ctranslate2"):
        for kind in ("float32", "int8"):
            makers[f"CTranslate2, {kind}"] = partial(_ctranslate2, ctranslate2, folder, kind, threads)
    llama_cpp, gguf = bench.peer("llama_cpp"), bench.peer("gguf")
    if llama_cpp and gguf:
        for kind in ("F32", "BF16", "Q8_0"):
            makers[f"llama.cpp, {kind}"] = partial(_llama_cpp, llama_cpp, gguf, folder / f"{kind}.gguf", model, threads)
    if openvino := bench.peer("openvino"):
        makers["OpenVINO, float32"] = partial(_openvino, openvino, model, threads, None)
        if nncf := bench.peer("nncf"):
            makers["OpenVINO, int8"] = partial(_openvino, openvino, model, threads, nncf)
    return {name: make() for name, make in makers.items() if format_of(name) in formats}


def _without_cache(model: Transformer) -> Generate:
    """As nanoGPT writes it: the whole window again for each token."""

    @torch.inference_mode()
    def generate(prompts: Ids, new: int) -> Ids:
        ids_BT = torch.tensor(prompts)
        for _ in range(new):
            hidden_BTC = model(ids_BT[:, -model.shape.context :])
            ids_BT = torch.cat([ids_BT, functional.linear(hidden_BTC[:, -1], model.head_weight).argmax(-1)[:, None]], 1)
        return ids_BT[:, -new:].tolist()

    return generate


def _transformers(transformers: ModuleType, folder: Path, dtype: torch.dtype) -> Generate:
    model = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=dtype).eval()

    @torch.inference_mode()
    def generate(prompts: Ids, new: int) -> Ids:
        ids = torch.tensor(prompts)
        found = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
        )
        return found[:, ids.shape[1] :].tolist()  # type: ignore[no-any-return]

    return generate


def _ctranslate2(ctranslate2: ModuleType, folder: Path, kind: str, threads: int) -> Generate:
    made = folder / f"ctranslate2-{kind}"
    converter = ctranslate2.converters.TransformersConverter(str(folder))
    converter.convert(str(made), quantization=kind, force=True)
    generator = ctranslate2.Generator(str(made), device="cpu", intra_threads=threads, compute_type=kind)
    vocabulary = json.loads((made / "vocabulary.json").read_text())

    def generate(prompts: Ids, new: int) -> Ids:
        tokens = [[vocabulary[token] for token in prompt] for prompt in prompts]
        results = generator.generate_batch(
            tokens,
            max_length=new,
            min_length=new,
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token=[],
        )
        return [result.sequences_ids[0] for result in results]

    return generate


def _llama_cpp(llama_cpp: ModuleType, gguf: ModuleType, file: Path, model: Transformer, threads: int) -> Generate:
    """Through the C interface, as its own benchmark does; the file's name is the format."""
    _write_gguf(gguf, model, file, file.stem)
    api: Any = llama_cpp.llama_cpp
    quiet = api.llama_log_callback(lambda *_: None)
    api.llama_log_set(quiet, None)
    settings = api.llama_model_default_params()
    loaded = api.llama_model_load_from_file(str(file).encode(), settings)
    vocabulary = model.shape.vocabulary

    def generate(prompts: Ids, new: int, _kept: object = quiet) -> Ids:
        options = api.llama_context_default_params()
        options.n_ctx = len(prompts) * (max(map(len, prompts)) + new)
        options.n_batch, options.n_seq_max = 2048, len(prompts)
        options.n_threads = options.n_threads_batch = threads
        context = api.llama_init_from_model(loaded, options)
        batch = api.llama_batch_init(max(512, len(prompts) * len(prompts[0])), 0, len(prompts))
        entries = [
            (token, place, row, place == len(prompt) - 1)
            for row, prompt in enumerate(prompts)
            for place, token in enumerate(prompt)
        ]
        drawn: Ids = [[] for _ in prompts]
        for turn in range(new):
            batch.n_tokens = len(entries)
            for number, (token, place, row, wanted) in enumerate(entries):
                batch.token[number], batch.pos[number], batch.logits[number] = token, place, wanted
                batch.n_seq_id[number], batch.seq_id[number][0] = 1, row
            if api.llama_decode(context, batch):
                raise RuntimeError("llama_decode failed")
            wanted_at = [number for number, entry in enumerate(entries) if entry[3]]
            for row, number in enumerate(wanted_at):
                address = ctypes.cast(
                    api.llama_get_logits_ith(context, number), ctypes.POINTER(ctypes.c_float * vocabulary)
                )
                drawn[row].append(int(np.ctypeslib.as_array(address.contents).argmax()))
            entries = [(drawn[row][-1], len(prompts[0]) + turn, row, True) for row in range(len(prompts))]
        api.llama_batch_free(batch)
        api.llama_free(context)
        return drawn

    return generate


def _write_gguf(gguf: ModuleType, model: Transformer, file: Path, kind: str) -> None:
    shape = model.shape
    writer = gguf.GGUFWriter(str(file), "gpt2")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.channels)
    writer.add_feed_forward_length(shape.feed)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_eps(shape.norm_epsilon)
    writer.add_file_type(getattr(gguf.LlamaFileType, {"F32": "ALL_F32"}.get(kind, f"MOSTLY_{kind}")))
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(shape.vocabulary)
    names = {
        "tokens": "token_embd",
        "positions": "position_embd",
        "norm": "output_norm",
        "attention_norm": "attn_norm",
        "attention.query_key_value": "attn_qkv",
        "attention.output": "attn_output",
        "feed_norm": "ffn_norm",
        "feed.inner": "ffn_up",
        "feed.outer": "ffn_down",
    }
    for name, weight in model.state_dict().items():
        path, _, last = name.rpartition(".")
        block, rest = "", path
        if path.startswith("blocks."):
            _, number, rest = path.split(".", 2)
            block = f"blk.{number}."
        data = weight.float().numpy()
        if kind != "F32" and weight.ndim == 2 and rest != "positions":
            form = getattr(gguf.GGMLQuantizationType, kind)
            writer.add_tensor(f"{block}{names[rest]}.{last}", gguf.quants.quantize(data, form), raw_dtype=form)
        else:
            writer.add_tensor(f"{block}{names[rest]}.{last}", data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class _Joined(Cache):
    """Remembered keys and values as tensors that come in and longer ones that go out."""

    def __init__(self, past: Sequence[torch.Tensor]) -> None:
        self.past, self.filled = list(past), 0

    def extend(self, layer: int, key_BHTK: torch.Tensor, value_BHTK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Joined to what was there."""
        for part, new in enumerate((key_BHTK, value_BHTK)):
            self.past[2 * layer + part] = torch.cat([self.past[2 * layer + part], new], dim=2)
        return self.past[2 * layer], self.past[2 * layer + 1]


class _WithPast(torch.nn.Module):
    """The network as a function of ids, places, mask and remembered tensors, which OpenVINO turns into states."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, ids: torch.Tensor, places: torch.Tensor, mask: torch.Tensor, past: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        cache = _Joined(past)
        hidden_BTC = self.model(ids, cache, places_BT=places, mask=mask)
        return functional.linear(hidden_BTC[:, -1], self.model.head_weight), *cache.past


def _openvino(openvino: ModuleType, model: Transformer, threads: int, nncf: ModuleType | None) -> Generate:
    shape = model.shape
    size = shape.channels // shape.heads
    example = (
        torch.zeros(2, 3, dtype=torch.int64),
        torch.zeros(2, 3, dtype=torch.int64),
        torch.ones(2, 1, 3, 8, dtype=torch.bool),
        tuple(torch.zeros(2, shape.heads, 5, size) for _ in range(2 * shape.layers)),
    )
    with torch.inference_mode():
        converted = openvino.convert_model(_WithPast(model), example_input=example)
    names = {}
    for number in range(2 * shape.layers):
        converted.inputs[3 + number].get_tensor().set_names({f"past{number}"})
        converted.outputs[1 + number].get_tensor().set_names({f"now{number}"})
        converted.inputs[3 + number].get_node().set_partial_shape(openvino.PartialShape([-1, shape.heads, -1, size]))
        names[f"past{number}"] = f"now{number}"
    for number, form in enumerate(([-1, -1], [-1, -1], [-1, 1, -1, -1])):
        converted.inputs[number].get_node().set_partial_shape(openvino.PartialShape(form))
    converted.validate_nodes_and_infer_types()
    passes = importlib.import_module("openvino.passes")
    manager = passes.Manager()
    manager.register_pass(passes.MakeStateful(names))
    manager.run_passes(converted)
    if nncf:
        converted = nncf.compress_weights(converted, mode=nncf.CompressWeightsMode.INT8_SYM)
    compiled = openvino.Core().compile_model(
        converted,
        "CPU",
        # float32 said aloud, since else it turns everything into bfloat16 where the processor has it.
        {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        | ({} if nncf else {"INFERENCE_PRECISION_HINT": "f32"}),
    )
    request = compiled.create_infer_request()

    def generate(prompts: Ids, new: int) -> Ids:
        for state in request.query_state():
            state.state = openvino.Tensor(np.zeros((len(prompts), shape.heads, 0, size), dtype=np.float32))
        ids, drawn, past = np.array(prompts), [], 0
        for _ in range(new):
            count = ids.shape[1]
            places = np.broadcast_to(np.arange(past, past + count), ids.shape)
            seen = np.tri(count, past + count, past, dtype=bool)
            mask = np.broadcast_to(seen, (len(prompts), 1, *seen.shape))
            request.infer([ids, np.ascontiguousarray(places), np.ascontiguousarray(mask)])
            past += count
            ids = request.get_output_tensor(0).data.argmax(-1)[:, None]
            drawn.append(ids)
        return np.concatenate(drawn, axis=1).tolist()  # type: ignore[no-any-return]

    return generate


def agreeing(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> float:
    """Share of tokens that are the same before a text first differs."""
    shares = []
    for one, other in zip(ours, theirs, strict=True):
        same = next((place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))
        shares.append(same / len(one))
    return sum(shares) / len(shares)
