"""A call to run in a job process, and LiveKit's executors to run the job in.

An agent's file imports both, so that it adds nothing but its set-up. It is run as a program: LiveKit's
executors then import it in the job process under the name ``__mp_main__``, as they do with a user's.
The environment says the rest: JOB_FOLDER, JOB_START_METHOD, JOB_ENDING.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import multiprocessing
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from livekit.agents import Agent, JobContext, JobProcess
from livekit.agents.ipc.job_proc_executor import ProcJobExecutor
from livekit.agents.job import JobAcceptArguments, RunningJobInfo
from livekit.protocol import agent, models

from otel_voice_cost.testing.components import Answer, ScriptedLLM, ScriptedSTT, ScriptedTTS

from .harness import SPEED, Caller, new_session

FOLDER = Path(os.environ["JOB_FOLDER"])
REPORTS, HELD = FOLDER / "reports.jsonl", FOLDER / "held"
ENDING = os.environ.get("JOB_ENDING", "hangs up")

Entrypoint = Callable[[JobContext], Awaitable[None]]
Prewarm = Callable[[JobProcess], Any]


def keep_report(metrics: Any) -> None:
    """Append what a component reported to the file that the test reads."""
    with REPORTS.open("a") as file:
        file.write(metrics.model_dump_json() + "\n")


def new_call() -> Caller:
    """A caller on a session whose components keep what they report."""
    stt = ScriptedSTT(["words"], report_seconds=0.5, speed=SPEED)
    llm, tts = ScriptedLLM([Answer(text="An answer.", cached_tokens=64)]), ScriptedTTS()
    for component in (stt, llm, tts):
        component.on("metrics_collected", keep_report)
    return Caller(new_session(stt=stt, llm=llm, tts=tts, session_close_transcript_timeout=0.05))


async def hold_call(context: JobContext) -> None:
    """Ask one question and listen, then end the job as JOB_ENDING says."""
    try:
        caller = new_call()
        if ENDING == "lives on":  # LiveKit closes the sessions that know their job
            await contextvars.Context().run(asyncio.ensure_future, ask(caller))
        else:
            await ask(caller)
        if ENDING == "raises":
            raise RuntimeError("the entrypoint raises")
        if ENDING == "hangs up":
            await caller.hang_up()
        if ENDING != "returns":
            context.shutdown()
    finally:
        HELD.touch()


async def ask(caller: Caller) -> None:
    """Start the session, ask one question and listen."""
    await caller.session.start(Agent(instructions="You answer."))
    await caller.ask_and_listen()
    await asyncio.sleep(0.2)  # speech-to-text reports once more after the last turn


def prewarm_nothing(process: JobProcess) -> None:
    """Do nothing, as LiveKit's default."""


def run_job(entrypoint: Entrypoint, prewarm: Prewarm = prewarm_nothing, *, preload: Sequence[str] = ()) -> None:
    """Run one job in LiveKit's process executor; exit with an error unless the job process ends well."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    method = os.environ.get("JOB_START_METHOD", "forkserver")
    start_methods = multiprocessing.get_context(method)
    if method == "forkserver":  # LiveKit replaces the default, which is the main module
        start_methods.set_forkserver_preload(["livekit.agents", *preload])
    asyncio.run(_run(entrypoint, prewarm, start_methods))


async def _run(entrypoint: Entrypoint, prewarm: Prewarm, start_methods: Any) -> None:
    executor = _known_only(
        ProcJobExecutor,
        initialize_process_fnc=prewarm,
        job_entrypoint_fnc=entrypoint,
        session_end_fnc=None,
        simulation_end_fnc=None,
        inference_executor=None,
        initialize_timeout=40.0,
        close_timeout=10.0,  # LiveKit's default: then it kills the process
        session_end_timeout=20.0,
        memory_warn_mb=0.0,
        memory_limit_mb=0.0,
        ping_interval=5.0,
        ping_timeout=60.0,
        high_ping_threshold=5.0,
        http_proxy=None,
        mp_ctx=start_methods,
        loop=asyncio.get_running_loop(),
    )
    await executor.start()
    await executor.initialize()
    await executor.launch_job(new_job())
    ended = asyncio.create_task(executor.join())
    while not (ended.done() or HELD.exists()):
        await asyncio.sleep(0.05)
    await asyncio.wait([ended], timeout=1.0)
    await executor.aclose()  # as a worker ends the jobs that do not end by themselves
    await ended
    if executor.exitcode != 0 or executor.killed:
        sys.exit(f"The job process left with {executor.exitcode}, killed: {executor.killed}")


def run_server(server: Any) -> None:
    """Run one job in a whole AgentServer that is registered nowhere."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    asyncio.run(_serve(server))


async def _serve(server: Any) -> None:
    started = asyncio.Event()
    server.on("worker_started", started.set)
    running = asyncio.create_task(server.run(unregistered=True))
    await started.wait()
    try:
        await server.simulate_job("room", fake_job=True)
        while not HELD.exists():
            await asyncio.sleep(0.05)
    finally:
        await server.aclose()
        await running


def new_job() -> RunningJobInfo:
    """A job without a server, as `AgentServer.simulate_job` makes it."""
    return _known_only(
        RunningJobInfo,
        accept_arguments=JobAcceptArguments(name="", identity="agent", metadata=""),
        job=agent.Job(id="mock-job-1", room=models.Room(sid="RM_1", name="room-1"), type=agent.JobType.JT_ROOM),
        url="ws://127.0.0.1:9",
        token="",
        worker_id="worker",
        fake_job=True,
    )


def _known_only(kind: Callable[..., Any], **options: Any) -> Any:
    """Build with the options that the installed release knows."""
    known = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in options.items() if name in known})
