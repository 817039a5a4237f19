"""The server as an ASGI application: OpenAI's completions, the questions that the page asks, health and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from selftaught.inference.language_model import LanguageModel
from selftaught.server import answers, completions, looking, metrics, refusals
from selftaught.server.completions import Asked, Completion
from selftaught.server.engine import Engine, Job
from selftaught.server.exchange import Events, read, unless_gone
from selftaught.server.gate import Gate
from selftaught.server.limits import Limits
from selftaught.server.looking import Attention, Detokenize, Tokenize
from selftaught.server.metrics import Metrics
from selftaught.server.page import Page
from selftaught.server.problems import ProblemError
from selftaught.server.texts import Assembly, Piece

_LINE_ENDS = "\u0085\u2028\u2029"
"""Those that JSON leaves as they are."""


class Service:
    """The models and what can be asked of them."""

    def __init__(self, models: Mapping[str, LanguageModel], *, limits: Limits, metrics: Metrics) -> None:
        """`models` by name; the last is meant where a request names none."""
        self.models, self.limits, self.metrics = dict(models), limits, metrics
        self.engine = Engine(models, limits, metrics)
        self._begun = int(time.time())
        self._page = Page()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Compute while the application runs."""
        self.engine.start()
        try:
            yield
        finally:
            await run_in_threadpool(self.engine.stop)

    def routes(self) -> list[Route]:
        """Every path."""
        return [
            Route("/", self.page),
            Route("/healthz", self.health),
            Route("/metrics", self.measured),
            Route("/v1/models", self.list_models),
            Route("/v1/models/{name:path}", self.one_model),
            Route("/v1/completions", self.complete, methods=["POST"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/attention", self.attend, methods=["POST"]),
            Route("/tokenizer_info", self.tokenizer_info),
            Route("/tokenize", self.tokenize, methods=["POST"]),
            Route("/detokenize", self.detokenize, methods=["POST"]),
        ]

    async def page(self, _: Request) -> Response:
        """The page."""
        return Response(self._page.html, media_type="text/html", headers=self._page.headers)

    async def health(self, _: Request) -> Response:
        """Whether the engine computes."""
        if not self.engine.alive:
            raise ProblemError(503, "the engine has stopped")
        return _json({"status": "ok", "models": list(self.models)})

    async def measured(self, _: Request) -> Response:
        """Prometheus' page."""
        return Response(self.metrics.page(), headers={"content-type": metrics.CONTENT_TYPE})

    async def list_models(self, _: Request) -> Response:
        """All models."""
        return _json({"object": "list", "data": [self._described(*item) for item in self.models.items()]})

    async def one_model(self, request: Request) -> Response:
        """One model."""
        return _json(self._described(*self._model(request.path_params["name"])))

    def _described(self, name: str, model: LanguageModel) -> dict[str, Any]:
        return looking.described(name, model, self._begun)

    async def chat(self, _: Request) -> Response:
        """What clients of chat models ask first."""
        raise ProblemError(404, "these models only continue texts, nobody taught them to chat; ask /v1/completions")

    def _model(self, name: str | None) -> tuple[str, LanguageModel]:
        chosen = next(reversed(self.models)) if name is None else name
        if chosen not in self.models:
            message = f"no model {chosen!r:.100}; expected one of {', '.join(self.models)}"
            raise ProblemError(404, message, param="model", code="model_not_found")
        return chosen, self.models[chosen]

    async def attend(self, request: Request) -> Response:
        """What the last token of a prompt attends to."""
        body = completions.decode(await read(request, self.limits), Attention)
        name, model = self._model(body.model)
        ids = looking.attending_ids(body, model)
        feed: asyncio.Queue[Any] = asyncio.Queue()
        self.engine.call(partial(model.decoder.attention, ids, body.layer), _delivering(feed))
        weights = await unless_gone(request.receive, feed.get())
        if isinstance(weights, Exception):
            raise weights
        return _json(looking.attended(name, model, ids, body, weights))

    async def tokenizer_info(self, _: Request) -> Response:
        """What evaluation harnesses ask before they tokenize."""
        return _json(looking.tokenizer_info(self._model(None)[1]))

    async def tokenize(self, request: Request) -> Response:
        """Ids of a text."""
        body = completions.decode(await read(request, self.limits), Tokenize)
        return _json(await run_in_threadpool(looking.tokenize, self._model(body.model)[1], body))

    async def detokenize(self, request: Request) -> Response:
        """The text of ids."""
        body = completions.decode(await read(request, self.limits), Detokenize)
        return _json(looking.detokenize(self._model(body.model)[1], body))

    async def complete(self, request: Request) -> Response:
        """OpenAI's completions."""
        body = completions.decode(await read(request, self.limits), Completion)
        name, model = self._model(body.model)
        asked = await run_in_threadpool(completions.understand, body, name, model, self.limits)
        feed: asyncio.Queue[tuple[int, Piece | ProblemError]] = asyncio.Queue()
        jobs = [self._job(asked, number, model, feed) for number in range(len(asked.requests))]
        self.engine.submit(jobs)

        def close() -> None:
            for job in jobs:
                self.engine.leave(job)

        streaming = False
        try:
            # Until the first piece is there, a problem has a status of its own.
            first = await unless_gone(request.receive, _next(feed))
            if asked.stream:
                streaming = True
                seconds = self.limits.seconds + self.limits.body_seconds
                events = self._events(asked, model, jobs, feed, first)
                return Events(events, seconds=seconds, close=close, gone=self.metrics.hangups.inc)
            return await unless_gone(request.receive, self._whole(asked, model, jobs, feed, first))
        finally:
            if not streaming:
                close()

    def _job(
        self, asked: Asked, number: int, model: LanguageModel, feed: asyncio.Queue[tuple[int, Piece | ProblemError]]
    ) -> Job:
        request, prompt = asked.requests[number], asked.prompts[number]
        lead = prompt if asked.echo and not request.echo else ""
        offset = 0 if request.echo else len(prompt)
        deliver = _delivering(feed)
        return Job(
            model=asked.model,
            request=request,
            assembly=Assembly(model.tokenizer, stop=asked.stop, lead=lead, offset=offset),
            deliver=lambda piece: deliver((number, piece)),
        )

    async def _whole(
        self,
        asked: Asked,
        model: LanguageModel,
        jobs: list[Job],
        feed: asyncio.Queue[tuple[int, Piece | ProblemError]],
        first: tuple[int, Piece],
    ) -> Response:
        pieces: dict[int, list[Piece]] = defaultdict(list)
        news, unfinished = first, len(jobs)
        while True:
            pieces[news[0]].append(news[1])
            unfinished -= news[1].finish is not None
            if not unfinished:
                break
            news = await _next(feed)
        answered = enumerate(answers.best(asked, pieces))
        choices = [answers.choice(asked, place, model, pieces[number]) for place, number in answered]
        drawn = sum(job.assembly.drawn for job in jobs)
        body = answers.document(asked, choices, answers.usage(asked, drawn))
        return Response(body, media_type="application/json")

    async def _events(
        self,
        asked: Asked,
        model: LanguageModel,
        jobs: list[Job],
        feed: asyncio.Queue[tuple[int, Piece | ProblemError]],
        first: tuple[int, Piece],
    ) -> AsyncIterator[bytes]:
        news, unfinished = [first], len(jobs)
        while True:
            choices = [answers.choice(asked, number, model, [piece]) for number, piece in news]
            yield b"".join(_event(answers.document(asked, [choice], None)) for choice in choices)
            unfinished -= sum(piece.finish is not None for _, piece in news)
            if not unfinished:
                break
            try:
                news = [await _next(feed)]
                while not feed.empty():  # what is there already is sent together
                    news.append(await _next(feed))
            except ProblemError as problem:
                yield _event(problem.body())
                return
        if asked.usage:
            drawn = sum(job.assembly.drawn for job in jobs)
            yield _event(answers.document(asked, [], answers.usage(asked, drawn)))
        yield _event(b"[DONE]")


async def _next(feed: asyncio.Queue[tuple[int, Piece | ProblemError]]) -> tuple[int, Piece]:
    number, piece = await feed.get()
    if isinstance(piece, ProblemError):
        raise piece
    return number, piece


def _delivering(feed: asyncio.Queue[Any]) -> Callable[[Any], None]:
    """How another thread puts something into a queue of this loop."""
    loop = asyncio.get_running_loop()

    def deliver(thing: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and whoever asked with it
            loop.call_soon_threadsafe(feed.put_nowait, thing)

    return deliver


def _event(data: bytes) -> bytes:
    """An event of JSON. Some clients (httpx's) take it for more than one line where Unicode has signs that end a line."""
    for sign in _LINE_ENDS:
        data = data.replace(sign.encode(), f"\\u{ord(sign):04x}".encode())
    return b"data: " + data + b"\n\n"


def _json(document: Any) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")


def application(
    models: Mapping[str, LanguageModel],
    *,
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    key: str | None = None,
) -> Starlette:
    """The application that serves some models, by name, and answers as if it listened on `host`."""
    counted = Metrics()
    service = Service(models, limits=limits or Limits(), metrics=counted)
    routes = service.routes()
    gate = Middleware(Gate, metrics=counted, paths=frozenset(route.path for route in routes), host=host, key=key)
    app = Starlette(
        routes=routes,
        middleware=[gate],
        lifespan=service.lifespan,
        exception_handlers=refusals.handlers(tuple(route.path_format for route in routes), counted.hangups.inc),
    )
    app.state.service = service
    return app
