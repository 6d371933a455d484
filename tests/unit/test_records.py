"""Records of ended calls get to their callback and their file, and neither delays the other."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal

import pytest

from otel_voice_cost import SessionCost
from otel_voice_cost._diagnostics import FAILED, Diagnostics
from otel_voice_cost.export.records import RecordWriter

PATIENCE_SECONDS = 20  # for what takes milliseconds


def ended_call(name):
    return SessionCost(
        session_id=name,
        trace_id="0" * 32,
        span_id="0" * 16,
        agent=None,
        started_at=datetime(2026, 11, 24, 12, tzinfo=timezone.utc),
        seconds=Decimal(90),
        ended=True,
        parts=(),
        turns=(),
    )


def sessions_in(file):
    """Session ids of the lines that are JSON."""
    found = []
    for line in file.read_bytes().split(b"\n") if file.exists() else ():
        try:
            found.append(json.loads(line)["x_SessionId"])
        except ValueError:
            continue
    return found


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


class Receiver:
    """A callback that can block until it is released, and raises given exceptions."""

    def __init__(self, error=None, hangs=False):
        self.sessions, self.threads, self.entered, self.go = [], [], threading.Event(), threading.Event()
        self._error = error
        if not hangs:
            self.go.set()

    def __call__(self, record):
        self.entered.set()
        self.go.wait(PATIENCE_SECONDS)
        self.sessions.append(record.session_id)
        self.threads.append(threading.current_thread())
        if self._error is not None and len(self.sessions) == 1:
            raise self._error


@pytest.fixture
def file(tmp_path):
    return tmp_path / "calls-2026-11-24.jsonl"


@pytest.fixture
def outbox(tmp_path):
    """Create writers for a callback, a file or both; close them afterwards."""
    made = []

    def make(callback=None, path=None):
        diagnostics = Diagnostics()
        made.append(RecordWriter(diagnostics, callback, path))
        return made[-1], diagnostics

    yield make
    for each in made:
        each.close(0)


@contextmanager
def no_new_threads():
    """No thread can start, as at a limit of processes or memory."""
    size = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(size)


def warnings_in(caplog):
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


# the callback


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, ValueError])
def test_whatever_a_callback_raises_the_next_record_is_handed_over(outbox, caplog, error):
    receiver = Receiver(error())
    box, diagnostics = outbox(receiver)

    box.put(ended_call("first"))
    box.put(ended_call("second"))

    assert box.flush(PATIENCE_SECONDS)
    assert receiver.sessions == ["first", "second"]
    assert diagnostics.counts[FAILED] == 1
    (line,) = warnings_in(caplog)
    assert f"on_session_end: {error.__name__}" in line


def test_a_hanging_callback_does_not_hold_back_the_file(outbox, tmp_path, file):
    receiver = Receiver(hangs=True)
    box, _ = outbox(receiver, tmp_path / "calls.jsonl")

    for name in "abc":
        box.put(ended_call(name))

    assert wait_until(lambda: sessions_in(file) == ["a", "b", "c"])
    assert receiver.sessions == []
    receiver.go.set()


def test_closing_logs_the_number_of_remaining_records_which_may_still_be_handed_over(outbox, caplog):
    receiver = Receiver(hangs=True)
    box, _ = outbox(receiver)
    for name in "abc":
        box.put(ended_call(name))

    box.close(0.05)
    box.close(0.05)

    assert warnings_in(caplog) == [
        "Records of calls were not handed over in time at shutdown: 3 for on_session_end. "
        "If the process ends now, they are lost."
    ]
    receiver.go.set()
    assert wait_until(lambda: receiver.sessions == ["a", "b", "c"])


def test_records_beyond_the_limit_are_dropped_with_one_warning(outbox, caplog):
    receiver = Receiver(hangs=True)
    box, _ = outbox(receiver)
    box.put(ended_call("0"))
    receiver.entered.wait(PATIENCE_SECONDS)

    for number in range(1, 10_003):
        box.put(ended_call(str(number)))

    assert warnings_in(caplog) == ["Records of calls are dropped: 10000 already wait for on_session_end."]
    receiver.go.set()
    assert box.flush(PATIENCE_SECONDS)
    assert len(receiver.sessions) == 10_001


# threads


def test_nothing_is_lost_while_no_thread_can_start(outbox, caplog, tmp_path, file):
    """The callback may block, so it waits for a thread instead of running on an event loop."""
    receiver = Receiver()
    box, diagnostics = outbox(receiver, tmp_path / "calls.jsonl")
    with no_new_threads():
        box.put(ended_call("a"))
        box.put(ended_call("b"))
        assert box.flush(PATIENCE_SECONDS) is False
        assert receiver.sessions == []

    box.put(ended_call("c"))

    assert box.flush(PATIENCE_SECONDS)
    assert receiver.sessions == sessions_in(file) == ["a", "b", "c"]
    assert warnings_in(caplog) == ["Records of calls wait for a thread (RuntimeError)."]
    assert diagnostics.counts[FAILED] == 0


def test_a_flush_hands_over_what_waited_for_a_thread(outbox):
    receiver = Receiver()
    box, _ = outbox(receiver)
    with no_new_threads():
        box.put(ended_call("a"))

    assert box.flush(PATIENCE_SECONDS)
    assert receiver.sessions == ["a"]


def test_closing_hands_over_what_waits_if_no_thread_can_start(outbox, tmp_path, file):
    receiver = Receiver(SystemExit())
    box, _ = outbox(receiver, tmp_path / "calls.jsonl")
    with no_new_threads():
        box.put(ended_call("a"))
        box.put(ended_call("b"))
        box.close(PATIENCE_SECONDS)

    assert receiver.sessions == sessions_in(file) == ["a", "b"]
    assert set(receiver.threads) == {threading.current_thread()}


def test_threads_that_put_at_once_share_one_thread(outbox):
    receiver, barrier = Receiver(), threading.Barrier(8)
    box, _ = outbox(receiver)

    def put(thread):
        barrier.wait()
        for number in range(100):
            box.put(ended_call(f"{thread}-{number}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(8)))

    assert box.flush(PATIENCE_SECONDS)
    assert set(Counter(receiver.sessions).values()) == {1}
    assert len(receiver.sessions) == 800
    assert len(set(receiver.threads)) == 1


def test_a_closed_writer_has_no_thread_and_accepts_further_records(outbox, tmp_path, file):
    receiver = Receiver()
    box, _ = outbox(receiver, tmp_path / "calls.jsonl")
    box.put(ended_call("a"))
    box.close(PATIENCE_SECONDS)
    assert wait_until(lambda: receiver.threads[0].ident not in sys._current_frames())

    box.put(ended_call("b"))

    assert box.flush(PATIENCE_SECONDS)
    assert box.flush(0)
    assert receiver.sessions == sessions_in(file) == ["a", "b"]


# the file


def link(file):
    file.with_name("elsewhere").touch()
    file.symlink_to(file.with_name("elsewhere"))


def dangling_link(file):
    file.symlink_to(file.with_name("elsewhere"))


def pipe(file):
    os.mkfifo(file)


def folder(file):
    file.mkdir()


def bound_socket(file):
    here = os.getcwd()
    os.chdir(file.parent)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(file.name)
    os.chdir(here)


def device(file):
    try:
        os.mknod(file, 0o600 | 0o020000, os.makedev(1, 7))  # /dev/full
    except PermissionError:
        pytest.skip("only root makes devices")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on this system")
@pytest.mark.parametrize("make", [link, dangling_link, pipe, folder, bound_socket, device])
def test_the_file_must_be_a_regular_one(outbox, caplog, tmp_path, file, make):
    """A link may lead anywhere, and a pipe without a reader would block the thread."""
    receiver = Receiver()
    box, diagnostics = outbox(receiver, tmp_path / "calls.jsonl")
    make(file)
    box.put(ended_call("a"))
    box.put(ended_call("b"))
    assert box.flush(PATIENCE_SECONDS)

    assert receiver.sessions == ["a", "b"]
    assert diagnostics.counts[FAILED] == 2
    (line,) = warnings_in(caplog)
    assert str(file) in line
    assert "expected a regular file, not a link" in line
    elsewhere = file.with_name("elsewhere")
    assert not elsewhere.exists() or elsewhere.read_bytes() == b""
    file.rmdir() if file.is_dir() else file.unlink()
    box.put(ended_call("c"))
    assert box.flush(PATIENCE_SECONDS)
    assert sessions_in(file) == ["c"]


def test_a_pipe_with_a_reader_gets_nothing(outbox, caplog, tmp_path, file):
    box, _ = outbox(path=tmp_path / "calls.jsonl")
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    box.put(ended_call("a"))
    assert box.flush(PATIENCE_SECONDS)

    assert os.read(reader, 1) == b""
    assert "Not a regular file; expected a regular file, not a link" in caplog.text
    os.close(reader)


def test_the_folder_may_be_a_link(outbox, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "log").symlink_to(tmp_path / "real")
    box, _ = outbox(path=tmp_path / "log" / "calls.jsonl")
    box.put(ended_call("a"))

    assert box.flush(PATIENCE_SECONDS)
    assert sessions_in(tmp_path / "real" / "calls-2026-11-24.jsonl") == ["a"]


def missing(folder):
    return folder / "missing" / "calls.jsonl", "No such file or directory", (folder / "missing").mkdir


def forbidden(folder):
    if os.geteuid() == 0:
        pytest.skip("nothing is forbidden to root")
    folder.chmod(0o500)
    return folder / "calls.jsonl", "Permission denied", lambda: folder.chmod(0o700)


def file_for_a_folder(folder):
    (folder / "log").touch()

    def repair():
        (folder / "log").unlink()
        (folder / "log").mkdir()

    return folder / "log" / "calls.jsonl", "Not a directory", repair


@pytest.mark.parametrize("make", [missing, forbidden, file_for_a_folder])
def test_an_unwritable_file_is_reported_with_the_reason(outbox, caplog, tmp_path, make):
    """Each record is counted and goes to the callback; once the cause is gone, records are written again."""
    path, reason, repair = make(tmp_path)
    receiver = Receiver()
    box, diagnostics = outbox(receiver, path)
    box.put(ended_call("a"))
    box.put(ended_call("b"))
    assert box.flush(PATIENCE_SECONDS)
    assert receiver.sessions == ["a", "b"]
    assert diagnostics.counts[FAILED] == 2
    (line,) = warnings_in(caplog)
    assert f"{path.with_name('calls-2026-11-24.jsonl')} ({reason}; expected" in line

    repair()
    box.put(ended_call("c"))

    assert box.flush(PATIENCE_SECONDS)
    assert sessions_in(path.with_name("calls-2026-11-24.jsonl")) == ["c"]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (b"", ["a", "b"]),
        (b'{"x_SessionId": "whole"}\n', ["whole", "a", "b"]),
        (b'{"x_SessionId": "whole"}', ["whole", "a", "b"]),
        (b'{"x_SessionId": "whole"}\n{"x_SessionId": "cut o', ["whole", "a", "b"]),
    ],
)
def test_a_line_that_another_process_cut_off_is_not_continued(outbox, tmp_path, file, before, expected):
    file.write_bytes(before)
    box, _ = outbox(path=tmp_path / "calls.jsonl")
    box.put(ended_call("a"))
    box.put(ended_call("b"))

    assert box.flush(PATIENCE_SECONDS)
    assert sessions_in(file) == expected
    assert b"\n\n" not in file.read_bytes()


def test_a_writer_that_keeps_the_lock_delays_a_record_and_does_not_stop_it(outbox, tmp_path, file):
    fcntl = pytest.importorskip("fcntl")
    box, _ = outbox(path=tmp_path / "calls.jsonl")
    with file.open("w") as stopped_writer:
        fcntl.flock(stopped_writer, fcntl.LOCK_EX)
        box.put(ended_call("a"))

        assert box.flush(PATIENCE_SECONDS)
    assert sessions_in(file) == ["a"]
