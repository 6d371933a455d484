"""Sessions inside LiveKit's jobs: the worker's own THREAD executor, and a job context."""

from __future__ import annotations

import asyncio
import inspect
import threading

import pytest
from livekit.agents.ipc.job_thread_executor import ThreadJobExecutor
from livekit.agents.job import JobAcceptArguments, RunningJobInfo, get_job_context
from livekit.protocol import agent, models

from .harness import RELEASE, assert_all_on_one_span, assert_session_totals, new_session
from .test_conversations import Clerk
from .test_many_sessions import Caller, named, stack

testing = pytest.importorskip("livekit.agents.testing", reason="jobs cannot be faked in this release")


async def hold_in_job(pipeline) -> None:
    caller = Caller(new_session(**named(stack(pipeline))))
    await caller.session.start(Clerk())
    await caller.ask_and_listen()
    await caller.hang_up()


async def test_in_the_workers_thread_executor(pipeline):
    """Two jobs at once, each in a separate thread and event loop, as JobExecutorType.THREAD runs them.

    They end together, because from 1.3 to 1.7 the first to end shuts the provider down for both.
    """
    both_held = threading.Barrier(2)

    async def entrypoint(context) -> None:
        await hold_in_job(pipeline)
        await asyncio.to_thread(both_held.wait, 40)
        context.shutdown()

    options = {
        "initialize_process_fnc": lambda process: None,
        "job_entrypoint_fnc": entrypoint,
        "session_end_fnc": None,
        "simulation_end_fnc": None,
        "inference_executor": None,
        "initialize_timeout": 10.0,
        "close_timeout": 20.0,
        "session_end_timeout": 20.0,
        "ping_interval": 5.0,
        "high_ping_threshold": 5.0,
        "http_proxy": None,
        "loop": asyncio.get_running_loop(),
    }
    known = inspect.signature(ThreadJobExecutor.__init__).parameters
    executors = [
        ThreadJobExecutor(**{name: value for name, value in options.items() if name in known}) for _ in range(2)
    ]
    for number, executor in enumerate(executors):
        await executor.start()
        await executor.initialize()
        room = models.Room(sid=f"RM_{number}", name=f"room-{number}")
        job = agent.Job(id=f"mock-job-{number}", room=room, type=agent.JobType.JT_ROOM)
        await executor.launch_job(
            RunningJobInfo(
                accept_arguments=JobAcceptArguments(name="", identity="agent", metadata=""),
                job=job,
                url="ws://127.0.0.1:9",
                token="",
                worker_id="worker",
                fake_job=True,
            )
        )
    await asyncio.gather(*(asyncio.wait_for(executor.join(), 40) for executor in executors))

    assert len(pipeline.session_spans()) == 2
    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


async def test_usage_spans_carry_the_jobs_conversation_id(pipeline):
    """LiveKit puts the job's conversation id on every span; Langfuse makes a session of it."""
    with testing.fake_job_context():
        assert get_job_context() is not None
        await hold_in_job(pipeline)

    assert_all_on_one_span(pipeline)
    if RELEASE < (1, 8):
        pytest.skip("no conversation ids before 1.8")
    (own,), (session,) = pipeline.named("stt_usage"), pipeline.session_spans()
    assert own.attributes["gen_ai.conversation.id"] == session.attributes["gen_ai.conversation.id"]
