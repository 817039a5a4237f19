"""Storage: nothing half-written, damaged files noticed, run folders that know whose they are."""

from __future__ import annotations

import errno
import gzip
import lzma
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught import storage
from selftaught.errors import DamagedFileError, InputError, MismatchError, OutputError
from selftaught.storage import runs, spooling


@dataclass(frozen=True, kw_only=True)
class Plan:
    rate: float = 1.0
    often: int = field(default=1, metadata={"changeable": True})


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    storage.write_text(path, "old")
    with pytest.raises(RuntimeError), storage.writing(path) as stream:
        stream.write(b"half of the new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_two_that_write_one_file_at_once_each_write_the_whole_of_it(tmp_path: Path) -> None:
    """Threads, or containers with a disk in common, whose processes have the same numbers."""
    path = tmp_path / "a"
    with storage.writing(path) as one:
        one.write(b"the first")
        with storage.writing(path) as other:
            other.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"the first"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_library_that_puts_its_own_file_in_the_place_changes_no_rights(tmp_path: Path) -> None:
    """As safetensors does, whose file only its owner may read."""
    storage.write_bytes(tmp_path / "usual", b"")
    with storage.writing(tmp_path / "model") as stream:
        other = tmp_path / "other"
        other.touch(mode=0o600)
        other.write_bytes(b"whole")
        other.replace(stream.name)
    assert (tmp_path / "model").read_bytes() == b"whole"
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Free some space"), storage.writing(tmp_path / "a") as stream:
        stream.write(b"x")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_really_full() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, a device that is always full (Linux)")
    with pytest.raises(OutputError, match="Free some space"):
        storage.append_line(Path("/dev/full"), b"row")


def test_space_is_checked_beforehand(tmp_path: Path) -> None:
    storage.require_space(tmp_path / "not" / "there" / "yet", 1)
    with pytest.raises(OutputError, match="not enough space"):
        storage.require_space(tmp_path, 10**18)


@given(st.binary(max_size=5000), st.sampled_from(["", ".gz", ".zst"]))
def test_rows_read_back_whatever_the_compression(data: bytes, suffix: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.jsonl{suffix}"
        assert storage.write_jsonl(path, [{"data": data.hex()}, {"data": ""}]) == 2
        with storage.reading(path) as stream:
            assert stream.read().splitlines()[0].decode() == '{"data":"' + data.hex() + '"}'


def test_same_rows_same_compressed_bytes(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        storage.write_jsonl(tmp_path / name, [{"x": 1}])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_cut_short_archives_are_input_errors(tmp_path: Path, suffix: str, pack: Any) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(pack(os.urandom(1000))[:-200])
    with pytest.raises(InputError, match=r"cut short|cannot read"), storage.reading(path) as stream:
        stream.read()


def test_reading_json_of_the_wrong_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"rate": "fast"}')
    with pytest.raises(DamagedFileError, match=r"a\.json"):
        storage.read_json(path, Plan)
    with pytest.raises(InputError, match="No such file"):
        storage.read_json(tmp_path / "b.json", Plan)


def test_a_log_whose_last_line_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    storage.append_line(path, b'{"rate":2.0}')
    with open(path, "ab") as stream:
        stream.write(b'{"rate":3')
    assert storage.read_lines(path, Plan) == [Plan(rate=2.0)]


def test_hash_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = storage.sha256(tmp_path)
    (tmp_path / "a").write_text("2")
    second = storage.sha256(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, storage.sha256(tmp_path)}) == 3


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    with storage.run(tmp_path / "r", verb="test", plan=Plan()) as run:
        assert not run.finished
        storage.write_text(run.path("result"), "x")
        run.declare("result")
    with storage.run(tmp_path / "r", verb="test", plan=Plan(often=5)) as run:
        assert run.finished
    record = storage.read_json(tmp_path / "r" / storage.RUN_FILE, storage.Record)
    assert (record.status, record.exit_code) == ("finished", 0)
    assert record.outputs == {"result": storage.sha256(tmp_path / "r" / "result")}


def test_a_finished_run_whose_result_was_altered_runs_again(tmp_path: Path) -> None:
    for content in ("x", "tampered"):
        with storage.run(tmp_path / "r", verb="test", plan=Plan()) as run:
            assert not run.finished
            storage.write_text(run.path("result"), "x")
            run.declare("result")
        (tmp_path / "r" / "result").write_text(content + "y")


def test_another_plan_input_or_verb_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("one")
    with storage.run(tmp_path / "r", verb="test", plan=Plan(), inputs={"text": source}):
        pass
    with (
        pytest.raises(MismatchError, match=r"rate: 1\.0 -> 2\.0"),
        storage.run(tmp_path / "r", verb="test", plan=Plan(rate=2.0)),
    ):
        pass
    source.write_text("two")
    with (
        pytest.raises(MismatchError, match="input text"),
        storage.run(tmp_path / "r", verb="test", plan=Plan(), inputs={"text": source}),
    ):
        pass
    with pytest.raises(OutputError, match="another verb"), storage.run(tmp_path / "r", verb="other", plan=Plan()):
        pass


def test_a_run_begun_before_a_setting_was_there_goes_on_where_the_default_is_what_it_did(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Later(Plan):
        cautious: bool = False

    with storage.run(tmp_path / "r", verb="test", plan=Plan()):
        pass
    with storage.run(tmp_path / "r", verb="test", plan=Later()) as again:
        assert again.resumed
    with (
        pytest.raises(MismatchError, match="cautious: False -> True"),
        storage.run(tmp_path / "r", verb="test", plan=Later(cautious=True)),
    ):
        pass


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="not a run"), storage.run(tmp_path, verb="test", plan=Plan()):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="got a file"), storage.run(tmp_path / "file", verb="test", plan=Plan()):
        pass


def test_a_finished_run_is_recognised_by_its_results(tmp_path: Path) -> None:
    for name, content in (("a", "x"), ("b", "x"), ("c", "y")):
        with storage.run(tmp_path / name, verb="test", plan=Plan()) as run:
            storage.write_text(run.path("result"), content)
            run.declare("result")
    assert storage.identity(tmp_path / "a") == storage.identity(tmp_path / "b") != storage.identity(tmp_path / "c")


def test_failed_and_interrupted_runs_say_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError), storage.run(tmp_path / "r", verb="test", plan=Plan()):
        raise OutputError("disk full")
    assert storage.read_json(tmp_path / "r" / storage.RUN_FILE, storage.Record).exit_code == 4
    with pytest.raises(KeyboardInterrupt), storage.run(tmp_path / "r", verb="test", plan=Plan()) as run:
        assert run.resumed
        raise KeyboardInterrupt
    record = storage.read_json(tmp_path / "r" / storage.RUN_FILE, storage.Record)
    assert (record.status, record.exit_code) == ("interrupted", 130)


KILLED = """
import sys, time
from pathlib import Path
from dataclasses import dataclass
from selftaught import storage
@dataclass(frozen=True, kw_only=True)
class Plan:
    rate: float = 1.0
with storage.run(Path(sys.argv[1]), verb="test", plan=Plan()) as run, storage.writing(run.path("result")) as stream:
    stream.write(b"half"); stream.flush()
    print("writing", flush=True)
    time.sleep(3600)
"""


def test_kill_9_while_writing_leaves_nothing_and_the_folder_free(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        with pytest.raises(OutputError, match="in use"), storage.run(folder, verb="test", plan=Plan()):
            pass
        process.send_signal(signal.SIGKILL)

    @dataclass(frozen=True, kw_only=True)
    class Same:
        rate: float = 1.0

    with storage.run(folder, verb="test", plan=Same()) as run:
        assert run.resumed
        assert not run.path("result").exists()
        assert not list(folder.glob(f".*{storage.TEMPORARY}"))


def test_a_run_that_nobody_holds_any_more_was_killed(tmp_path: Path) -> None:
    with storage.run(tmp_path / "r", verb="test", plan=Plan()) as run:
        record = storage.read_record(run.folder)
        assert record.status == "running"
    assert storage.read_record(tmp_path / "r").status == "finished"
    storage.write_json(tmp_path / "r" / storage.RUN_FILE, record)
    assert storage.read_record(tmp_path / "r").status == "killed"


def test_a_run_says_what_it_failed_with_even_where_no_space_is_left_to_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, document: object) -> None:
        raise OutputError(f"cannot write {path}", got="No space left on device")

    def use(folder: Path, *, fails: bool) -> None:
        with storage.run(folder, verb="test", plan=Plan()):
            monkeypatch.setattr(runs, "write_json", full)
            if fails:
                raise InputError("no text")

    for fails, problem in ((True, InputError), (False, OutputError)):
        folder = tmp_path / problem.__name__
        with pytest.raises(problem):
            use(folder, fails=fails)
        record = storage.read_record(folder)
        assert (record.status, record.exit_code) == ("failed", problem.exit_code)
        assert ("no text" if fails else "No space left on device") in record.problem
        monkeypatch.undo()
        with storage.run(folder, verb="test", plan=Plan()) as opened:
            assert storage.read_record(folder).status == "running"
            assert opened.resumed
        assert storage.read_record(folder).problem == ""


def test_an_input_left_out_or_added_is_another_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    with storage.run(tmp_path / "run", verb="v", plan=Plan(), inputs={"a": tmp_path / "a"}):
        pass
    with (
        pytest.raises(MismatchError, match="input b added"),
        storage.run(tmp_path / "run", verb="v", plan=Plan(), inputs={"a": tmp_path / "a", "b": tmp_path / "b"}),
    ):
        pass
    with pytest.raises(MismatchError, match="input a left out"), storage.run(tmp_path / "run", verb="v", plan=Plan()):
        pass


def test_a_run_that_refused_its_input_may_be_begun_anew_with_another(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    with (
        pytest.raises(InputError),
        storage.run(tmp_path / "run", verb="v", plan=Plan(), inputs={"a": tmp_path / "a"}),
    ):
        raise InputError("empty")
    with storage.run(tmp_path / "run", verb="v", plan=Plan(), inputs={"a": tmp_path / "b"}) as opened:
        assert not opened.resumed


def test_a_zst_file_that_is_cut_short_is_an_error_wherever_it_is_cut(tmp_path: Path) -> None:
    rows = [{"number": number, "text": "text " * (number % 50)} for number in range(3000)]
    storage.write_jsonl(tmp_path / "rows.jsonl.zst", rows)
    whole = (tmp_path / "rows.jsonl.zst").read_bytes()
    with storage.reading(tmp_path / "rows.jsonl.zst") as stream:
        assert sum(1 for _ in stream) == 3000
    for size in (1, 5, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.jsonl.zst").write_bytes(whole[:size])
        with pytest.raises(InputError, match="cut short"), storage.reading(tmp_path / "cut.jsonl.zst") as stream:
            list(stream)
    (tmp_path / "two.jsonl.zst").write_bytes(whole + whole)
    with storage.reading(tmp_path / "two.jsonl.zst") as stream:
        assert sum(1 for _ in stream) == 6000


@given(st.lists(st.integers(-50, 50)), st.integers(1, 9))
def test_sorting_on_the_disk_is_sorting(numbers: list[int], most: int) -> None:
    rows = [(abs(number), place) for place, number in enumerate(numbers)]
    found = storage.sorted_rows(iter(rows), tuple[int, int], lambda row: row[0], most=most)
    assert list(found) == sorted(rows, key=lambda row: row[0])


def test_a_spool_is_read_as_it_was_written_as_often_as_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "_FRAME_BYTES", 50)
    spool = storage.Spool(str, (f"row {number} é" for number in range(100)))
    wanted = [f"row {number} é" for number in range(100)]
    assert len(spool) == 100
    assert list(spool) == wanted
    spool.append("one more")
    assert list(zip(spool, spool, strict=True))[-1] == ("one more", "one more")


def test_rows_added_together_and_saved_are_those_added_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "_FRAME_BYTES", 100)
    rows = [{"text": f"row {number} é"} for number in range(40)]
    one, together = storage.Spool(dict, rows), storage.Spool(dict)
    together.extend(rows[:25])
    together.extend([])
    together.extend(rows[25:])
    assert list(together) == list(one) == rows
    assert len(together) == len(one) == 40
    for name in ("rows.jsonl", "rows.jsonl.zst"):
        together.save(tmp_path / name)
        storage.write_jsonl(tmp_path / f"written-{name}", rows)
        with storage.reading(tmp_path / name) as saved, storage.reading(tmp_path / f"written-{name}") as written:
            assert saved.read() == written.read()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_temporary_disk_is_named_with_what_to_do() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        scratch = spooling._Temporary(os.dup(full.fileno()), "wb")
        with pytest.raises(OutputError, match=r"temporary files in .*No space left.* TMPDIR"):
            scratch.write(b"rows")


def test_sweeping_removes_half_written_files_and_folders(tmp_path: Path) -> None:
    kept, folder = tmp_path / "step-000001", tmp_path / f".step-000002{storage.TEMPORARY}"
    for place in (kept, folder):
        place.mkdir()
        (place / "model.safetensors").write_bytes(b"1")
    (kept / f".log.jsonl.77{storage.TEMPORARY}").write_bytes(b"2")
    storage.sweep(tmp_path)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["step-000001", "model.safetensors"]
