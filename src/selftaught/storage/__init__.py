"""The one place that writes files: atomic, hashed, and every verb's output a run folder with its record.

A file appears under its name only when all of it is on the disk: it is written beside its place under a temporary name,
synchronised and renamed.
"""

from selftaught.storage.compression import reading
from selftaught.storage.documents import (
    decode_json,
    read_json,
    read_lines,
    whole_lines,
    write_json,
    write_jsonl,
    writing_rows,
)
from selftaught.storage.files import (
    LOCK_FILE,
    TEMPORARY,
    append_line,
    free_bytes,
    input_error,
    output_error,
    read_bytes,
    require_space,
    sha256,
    sweep,
    unfinished,
    write_bytes,
    write_text,
    writing,
    writing_folder,
)
from selftaught.storage.records import RUN_FILE, Input, Record, identity, read_record
from selftaught.storage.runs import LOG_FILE, PLAN_FILE, Run, run
from selftaught.storage.spooling import Spool, grouped, sorted_rows, temporary

__all__ = [
    "LOCK_FILE",
    "LOG_FILE",
    "PLAN_FILE",
    "RUN_FILE",
    "TEMPORARY",
    "Input",
    "Record",
    "Run",
    "Spool",
    "append_line",
    "decode_json",
    "free_bytes",
    "grouped",
    "identity",
    "input_error",
    "output_error",
    "read_bytes",
    "read_json",
    "read_lines",
    "read_record",
    "reading",
    "require_space",
    "run",
    "sha256",
    "sorted_rows",
    "sweep",
    "temporary",
    "unfinished",
    "whole_lines",
    "write_bytes",
    "write_json",
    "write_jsonl",
    "write_text",
    "writing",
    "writing_folder",
    "writing_rows",
]
