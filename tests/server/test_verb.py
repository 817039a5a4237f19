"""`selftaught serve` as a process: what it prints, how it ends, what it refuses."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

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


def begun(ladder, *words):
    """The verb as a process that was just started."""
    command = [sys.executable, "-m", "selftaught", "serve", str(ladder), "--port", "0", "--json", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    """Leave nothing of it."""
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


@contextlib.contextmanager
def started(ladder, *words):
    """The verb as a process that answers, and what it said of itself."""
    process = begun(ladder, *words)
    try:
        document = ""
        while not document.endswith("}\n") or document.count("{") != document.count("}"):
            document += (line := process.stdout.readline())
            assert line, process.stderr.read()
        told = json.loads(document)
        while True:
            with contextlib.suppress(httpx2.TransportError):
                httpx2.get(told["url"] + "/healthz", trust_env=False, timeout=PATIENCE_SECONDS)
                break
            time.sleep(0.05)
        yield process, told
    finally:
        end(process)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, errors.INTERRUPTED), (signal.SIGTERM, errors.TERMINATED)])
def test_it_serves_all_sizes_and_ends_when_told_to(ladder, number, code):
    with started(ladder, "--grace-seconds", str(PATIENCE_SECONDS)) as (process, told):
        assert told["models"] == ["1x8", "2x16"]
        with httpx2.Client(base_url=told["url"], trust_env=False, timeout=PATIENCE_SECONDS) as client:
            answer = client.post("/v1/completions", json={"prompt": "the", "max_tokens": 2})
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


def test_clients_that_do_not_read_or_send_to_the_end_hold_up_no_end(ladder):
    with started(ladder, "--grace-seconds", "0.1") as (process, told), contextlib.ExitStack() as stack:
        place = urlsplit(told["url"])
        answer = {"model": "1x8", "prompt": "the", "max_tokens": 2048, "n": 8, "logprobs": 20}
        clients = []
        for body, announced in ((answer | {"stream": True}, 0), (answer, 0), ({"prompt": "the"}, 500)):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((place.hostname, place.port))
            data = json.dumps(body).encode()
            head = (
                f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {announced or len(data)}\r\n\r\n"
            )
            client.sendall(head.encode() + data)
            clients.append(client)
        clients[0].recv(1)  # the stream has begun
        time.sleep(1)  # and what is between this server and its client fills up
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == errors.TERMINATED
        said = process.stderr.read()
        assert "Traceback" not in said
        assert said.count("warning: Cancel") == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells which files a process has open")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, errors.INTERRUPTED), (signal.SIGTERM, errors.TERMINATED)])
def test_it_ends_when_told_to_while_it_loads(ladder, number, code):
    weights = ladder / "models" / "1x8" / native.WEIGHTS_FILE
    os.truncate(weights, 1 << 38)  # of holes, which take minutes to be compared with their hash
    process = begun(ladder)
    try:
        while str(weights) not in open_files(process.pid):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == code
        assert "Traceback" not in process.stderr.read()
    finally:
        end(process)


def open_files(pid):
    """What a process has open."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(path.readlink()))
    return found


@pytest.mark.parametrize("host", ["::1", "127.0.0.2", "localhost"])
def test_every_name_of_loopback_is_answered_at(ladder, host):
    try:
        running.listen(host, 0).close()
    except errors.OutputError as problem:
        pytest.skip(problem.line())
    with (
        started(ladder, "--host", host) as (process, told),
        httpx2.Client(base_url=told["url"], trust_env=False, timeout=PATIENCE_SECONDS) as client,
    ):
        assert client.get("/v1/models").status_code == 200
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == errors.TERMINATED


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_it_serves_where_its_output_is_closed(ladder, closed):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = shlex.join([sys.executable, "-m", "selftaught", "serve", str(ladder), "--port", str(port)])
    process = subprocess.Popen(["/bin/sh", "-c", f"exec {command} {closed}"], stderr=subprocess.PIPE, text=True)
    try:
        while True:
            assert process.poll() is None, process.stderr.read()
            with contextlib.suppress(httpx2.TransportError):
                assert httpx2.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
                break
            time.sleep(0.05)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == errors.TERMINATED
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
def test_output_on_a_full_disk_is_one_line(ladder):
    command = [sys.executable, "-m", "selftaught", "serve", str(ladder), "--port", "0"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == errors.OutputError.exit_code
    assert done.stderr == "selftaught: cannot write to standard output; got No space left on device\n"


def test_a_log_that_cannot_be_written_ends_no_server(monkeypatch):
    def full(text):
        raise errors.OutputError("cannot write to standard output")

    monkeypatch.setattr(running.console, "warn", full)
    running._Telling().emit(logging.LogRecord("x", logging.ERROR, "x", 1, "a defect", None, None))


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
    assert main(["serve", str(ladder), "--host", "name.invalid"]) == errors.OutputError.exit_code
    assert "--host 127.0.0.1" in capsys.readouterr().err


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
