"""`selftaught serve` as a process: what it prints, how it ends, what it refuses."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time

import httpx2
import pytest

from selftaught import errors
from selftaught.checkpoint import native
from selftaught.cli import serve
from selftaught.cli.main import main
from selftaught.server import running
from tests.server.conftest import PATIENCE_SECONDS, TOKENIZER, models


@pytest.fixture
def ladder(tmp_path):
    """A folder like a demo's, of two sizes."""
    for name, model in models().items():
        native.save(model.model, TOKENIZER, tmp_path / "demo" / "models" / name)
    return tmp_path / "demo"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, errors.INTERRUPTED), (signal.SIGTERM, errors.TERMINATED)])
def test_it_serves_all_sizes_and_ends_when_told_to(ladder, number, code):
    command = [
        sys.executable,
        "-m",
        "selftaught",
        "serve",
        str(ladder),
        "--port",
        "0",
        "--json",
        "--grace-seconds",
        str(PATIENCE_SECONDS),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        document = ""
        while not document.endswith("}\n") or document.count("{") != document.count("}"):
            document += (line := process.stdout.readline())
            assert line, process.stderr.read()
        told = json.loads(document)
        assert told["models"] == ["1x8", "2x16"]
        with httpx2.Client(base_url=told["url"], trust_env=False, timeout=PATIENCE_SECONDS) as client:
            while True:
                try:
                    answer = client.post("/v1/completions", json={"prompt": "the", "max_tokens": 2})
                    break
                except httpx2.TransportError:
                    time.sleep(0.05)
            assert answer.json()["model"] == "2x16"
            body = {"prompt": "the", "max_tokens": 2048, "stream": True}
            with client.stream("POST", "/v1/completions", json=body) as stream:
                lines = stream.iter_lines()
                next(lines)
                process.send_signal(number)
                with contextlib.suppress(httpx2.TransportError):
                    list(lines)  # it either ends in the time of grace or is cut off
        assert process.wait(PATIENCE_SECONDS) == code
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_models_are_found_where_they_are(ladder, tmp_path):
    assert [path.name for path in running.find(ladder)] == ["1x8", "2x16"]
    assert [path.name for path in running.find(ladder / "models")] == ["1x8", "2x16"]
    assert running.find(ladder / "models" / "1x8") == [ladder / "models" / "1x8"]
    assert list(running.load(ladder, "cpu")) == ["1x8", "2x16"]
    shutil.copytree(ladder / "models" / "2x16", ladder / "more" / "2x16")
    assert list(running.load(ladder, "cpu")) == ["1x8", "models/2x16", "more/2x16"]
    with pytest.raises(errors.InputError, match="no model"):
        running.find(tmp_path / "nowhere")


def test_small_parts_are_sent_at_once():
    """Unless a connection is named TCP, asyncio leaves Nagle's algorithm on, and each answer waits 40 ms."""
    with (
        running.listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.proto == socket.IPPROTO_TCP


def test_a_taken_port_is_told(ladder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", str(ladder), "--port", port]) == errors.OutputError.exit_code
    assert "--port 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nowhere"], errors.InputError.exit_code),
        (["LADDER", "--port", "99999"], errors.UsageError.exit_code),
        (["LADDER", "--slots", "0"], errors.UsageError.exit_code),
        (["LADDER", "--key-file", "nowhere"], errors.InputError.exit_code),
        (["LADDER", "--key-file", "EMPTY"], errors.InputError.exit_code),
    ],
)
def test_each_mistake_gives_one_line(ladder, tmp_path, capsys, words, code):
    (tmp_path / "empty").write_text("\n")
    places = {"LADDER": str(ladder), "EMPTY": str(tmp_path / "empty"), "nowhere": str(tmp_path / "nowhere")}
    assert (
        main(["serve", *(places.get(word, word) for word in words), *(() if "--port" in words else ("--port", "0"))])
        == code
    )
    problem = capsys.readouterr().err
    assert problem.startswith("selftaught: ")
    assert problem.count("\n") == 1


def test_keys_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("sesame\n")
    monkeypatch.setenv(serve.KEY, "other")
    assert serve._key(serve.Serve(model=tmp_path, key_file=tmp_path / "key")) == "sesame"
    assert serve._key(serve.Serve(model=tmp_path)) == "other"
    monkeypatch.delenv(serve.KEY)
    assert serve._key(serve.Serve(model=tmp_path)) is None


def test_a_missing_extra_prints_its_install_line(ladder):
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['starlette', 'uvicorn', 'h11', 'prometheus_client']));"
        "from selftaught.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "serve", str(ladder), "--port", "0"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == errors.MissingExtraError.exit_code
    assert "pip install 'selftaught[serve]'" in ended.stderr
    assert "Traceback" not in ended.stderr
