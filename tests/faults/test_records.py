"""Records survive interruptions, forks, the exit of their process and of others, and full disks.

Functions that may hang or die run in separate processes.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from otel_voice_cost._diagnostics import FAILED, Diagnostics
from otel_voice_cost.export.records import RecordWriter

from ..unit.test_records import PATIENCE_SECONDS, ended_call, sessions_in

DEADLOCK_SECONDS = 60  # for what takes a few
LARGE = 1_000_000  # bytes of a line that takes long enough to write for a kill to hit it


def run(function, *arguments, **options):
    """Run a function of this module in a process and return what it printed."""
    call = f"{function.__name__}(*{arguments!r})"
    code = f"from tests.faults.test_records import {function.__name__}; {call}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# interruptions


def interrupt_every_step(action):
    """Interrupt a put once before each of its steps, including those of the standard library."""
    sessions, expected, step = [], 0, 0
    interrupted = True
    while interrupted:
        box = RecordWriter(Diagnostics(), lambda record: sessions.append(record.session_id), None)
        act = {
            "put": lambda box=box: box.put(ended_call("inner")),
            "flush": lambda box=box: box.flush(0.001),
            "close": lambda box=box: box.close(0.001),
        }[action]
        interrupted = put_interrupted(box, ended_call(f"{step}"), act, step)
        assert box.flush(PATIENCE_SECONDS)
        expected += 2 if interrupted and action == "put" else 1
        assert len(sessions) == expected
        box.close(PATIENCE_SECONDS)
        step += 1
    sys.stdout.write(f"{step}\n")


def put_interrupted(box, record, act, steps):
    """Put a record and act after some steps, on the same thread as a signal handler would; return True if it did."""
    left = [steps]

    def trace(frame, event, argument):
        frame.f_trace_opcodes = True
        if left[0] == 0:
            act()
        left[0] -= 1
        return trace

    sys.settrace(trace)
    box.put(record)
    sys.settrace(None)
    return left[0] < 0


@pytest.mark.parametrize("action", ["put", "flush", "close"])
def test_a_put_can_be_interrupted_anywhere(action):
    (steps,) = run(interrupt_every_step, action)

    assert int(steps) > 50


def interrupted_by_signals():
    sessions, inside = [], [0]
    box = RecordWriter(Diagnostics(), lambda record: sessions.append(record.session_id), None)

    def handle(*_):
        inside[0] += 1
        box.put(ended_call(f"inside-{inside[0]}"))
        if inside[0] % 10 == 0:
            box.flush(0.002)

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    for number in range(20_000):
        box.put(ended_call(f"{number}"))
        if number % 1_000 == 0:
            box.flush(PATIENCE_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert box.flush(PATIENCE_SECONDS)
    assert Counter(sessions) == Counter([f"{n}" for n in range(20_000)] + [f"inside-{n + 1}" for n in range(inside[0])])


class EndsInCollection:
    """A call whose session ends when it is garbage-collected."""

    def __init__(self, box, name):
        self.box, self.name, self.cycle = box, name, self

    def __del__(self):
        self.box.put(ended_call(self.name))


def interrupted_by_collections():
    sessions = []
    box = RecordWriter(Diagnostics(), lambda record: sessions.append(record.session_id), None)
    gc.set_threshold(3)
    for number in range(10_000):
        EndsInCollection(box, f"collected-{number}")
        box.put(ended_call(f"{number}"))
        if number % 1_000 == 0:
            box.flush(PATIENCE_SECONDS)
    gc.collect()
    assert box.flush(PATIENCE_SECONDS)
    assert Counter(sessions) == Counter([f"{n}" for n in range(10_000)] + [f"collected-{n}" for n in range(10_000)])


@pytest.mark.parametrize("function", [interrupted_by_signals, interrupted_by_collections])
def test_records_of_signal_handlers_and_collections_arrive_once(function):
    if function is interrupted_by_signals and not hasattr(signal, "setitimer"):
        pytest.skip("no timers on this system")
    run(function)


# forks


def fork_while_a_callback_runs(folder):
    parent, sessions = os.getpid(), []
    entered, go = threading.Event(), threading.Event()

    def callback(record):
        if os.getpid() == parent:
            entered.set()
            go.wait(PATIENCE_SECONDS)
        sessions.append(record.session_id)

    box = RecordWriter(Diagnostics(), callback, Path(folder) / "calls.jsonl")
    for name in "ab":
        box.put(ended_call(name))
    entered.wait(PATIENCE_SECONDS)
    child = os.fork()
    if child == 0:
        box.put(ended_call("child"))
        is_right = box.flush(PATIENCE_SECONDS) and sessions == ["child"]
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go.set()
    assert box.flush(PATIENCE_SECONDS)
    assert sessions == ["a", "b"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_hands_over_only_its_own_records(tmp_path):
    run(fork_while_a_callback_runs, str(tmp_path))

    assert sorted(sessions_in(tmp_path / "calls-2026-11-24.jsonl")) == ["a", "b", "child"]


# the end of the process


def exit_while_a_session_runs(ending):
    """Exit the interpreter with a running session, like a script without shutdown."""
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  # in the process alone

    from otel_voice_cost import VoiceCostSpanProcessor  # noqa: PLC0415  # the same

    provider = TracerProvider(shutdown_on_exit=ending != "in a finalizer")
    provider.add_span_processor(
        VoiceCostSpanProcessor(on_session_end=lambda record: sys.stdout.write(f"{record.session_id}\n"))
    )
    session = provider.get_tracer("livekit-agents").start_span("agent_session", attributes={"session.id": "s"})
    if ending == "without new threads":  # as on Python 3.12
        threading.stack_size(1 << 46)
    if ending == "in a finalizer":
        sys.modules["__main__"].ends_late = EndsWithInterpreter(session)


class EndsWithInterpreter:
    def __init__(self, span):
        self.span = span

    def __del__(self):
        assert sys.is_finalizing()
        self.span.end()


@pytest.mark.parametrize("ending", ["at exit", "without new threads", "in a finalizer"])
def test_a_session_that_ends_with_the_interpreter_has_its_record(monkeypatch, tmp_path, ending):
    monkeypatch.setenv("VOICE_COST_RECORDS_FILE", str(tmp_path / "calls.jsonl"))

    printed = run(exit_while_a_session_runs, ending)

    assert printed == ["s"]
    (file,) = tmp_path.iterdir()
    assert sessions_in(file) == ["s"]


# disks and other writers


def write_to_a_full_disk(folder, *names):
    """Write records; the second is truncated after a thousand bytes, and from the fourth on there is space."""
    import resource  # noqa: PLC0415  # not on Windows

    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    diagnostics, sessions, path = Diagnostics(), [], Path(folder) / "calls.jsonl"
    box = RecordWriter(diagnostics, lambda record: sessions.append(record.session_id), path)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    for number, name in enumerate(names, start=1):
        if number == 2:
            size = path.with_name("calls-2026-11-24.jsonl").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1_000, most))
        if number == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        box.put(ended_call(name))
        assert box.flush(PATIENCE_SECONDS)
    assert sessions == list(names)
    assert diagnostics.counts[FAILED] == len(names[1:3])


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on this system")
def test_a_full_disk_loses_records_until_there_is_space_and_logs_it_once(tmp_path):
    file = tmp_path / "calls-2026-11-24.jsonl"

    printed = run(write_to_a_full_disk, str(tmp_path), "a", "b" * 5_000, "c" * 5_000, "d")

    assert sessions_in(file) == ["a", "d"]
    (line,) = printed
    assert f"{file} (File too large; expected a regular file" in line


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on this system")
def test_a_line_truncated_by_a_full_disk_corrupts_no_other(tmp_path):
    run(write_to_a_full_disk, str(tmp_path), "a", "b" * 5_000)
    run(write_to_a_full_disk, str(tmp_path), "c")

    assert sessions_in(tmp_path / "calls-2026-11-24.jsonl") == ["a", "c"]


def write_until_killed(path, name, written):
    """Write large records, and report each one written."""
    box = RecordWriter(Diagnostics(), None, path)
    for number in range(1_000):
        record = f"{name}-{number}-"
        box.put(ended_call(record + "x" * LARGE))
        if box.flush(PATIENCE_SECONDS):
            os.write(written, f"{record}\n".encode())
    os._exit(0)


def kill_writers(folder):
    path, file = Path(folder) / "calls.jsonl", Path(folder) / "calls-2026-11-24.jsonl"
    chance = random.Random(1)
    cut_off = 0
    for _ in range(15):
        reports, written = os.pipe()
        children = []
        for name in "abcd":
            child = os.fork()
            if child == 0:
                write_until_killed(path, name, written)
            children.append(child)
        os.close(written)
        with os.fdopen(reports) as pipe:
            reported = [pipe.readline().strip()]  # the file is there
            for child in children:  # the last ones go on behind the lines of the first
                time.sleep(chance.uniform(0.005, 0.03))
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            reported += pipe.read().splitlines()
        found = Counter(session.rstrip("x") for session in sessions_in(file))
        assert set(reported) <= set(found), set(reported) - set(found)
        assert set(found.values()) <= {1}
        cut_off += len(list(filter(None, file.read_bytes().split(b"\n")))) - len(found)
        file.unlink()
    sys.stdout.write(f"{cut_off}\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_lines_stay_whole_if_a_writer_is_killed(tmp_path):
    """Records that several processes write to one file, some killed, are readable and not duplicated."""
    run(kill_writers, str(tmp_path))


def test_lines_of_several_processes_do_not_mix(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", f"from tests.faults.test_records import write_many as w; w({str(tmp_path)!r}, {n})"]
        )
        for n in range(4)
    ]

    assert [writer.wait(DEADLOCK_SECONDS) for writer in writers] == [0] * 4
    lines = (tmp_path / "calls-2026-11-24.jsonl").read_text().splitlines()
    names = Counter(json.loads(line)["x_SessionId"].rstrip("x") for line in lines)
    assert names == Counter(f"{n}-{number}-" for n in range(4) for number in range(50))


def write_many(folder, name):
    box = RecordWriter(Diagnostics(), None, Path(folder) / "calls.jsonl")
    for number in range(50):
        box.put(ended_call(f"{name}-{number}-" + "x" * 100_000))
    assert box.flush(PATIENCE_SECONDS)
