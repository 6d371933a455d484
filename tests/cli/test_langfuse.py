"""Model definitions, pushed to a server that behaves as Langfuse's API reference says."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from otel_voice_cost import PriceCatalog
from otel_voice_cost.cli.langfuse import definitions_of

from .test_commands import run

AT = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
DEFINITIONS = {d.name: d for d in definitions_of(PriceCatalog.default(), AT)}
SECRET = "sk-lf-do-not-print"
UNITS = {"TOKENS", "CHARACTERS", "MILLISECONDS", "SECONDS", "REQUESTS", "IMAGES"}


class Project:
    """The models of a Langfuse project; Langfuse's own are listed too and cannot be deleted."""

    def __init__(self) -> None:
        self.models = [
            self._stored(str(n), {"modelName": f"gpt-{n}", "matchPattern": "x"}, managed=True) for n in range(150)
        ]
        self.busy = 0  # answers 503 that often first
        self.refused = ""  # a name that is answered 400
        self.requests: list[str] = []

    def _stored(self, key, body, *, managed=False):
        tiers = [{"id": "t", **tier} for tier in body.get("pricingTiers", [])]
        return {
            "id": key,
            "startDate": None,
            "unit": body.get("unit"),
            "tokenizerConfig": None,
            "isLangfuseManaged": managed,
            "createdAt": "2026-11-23T12:00:00.000Z",
            "prices": {},
            "modelName": body["modelName"],
            "matchPattern": body["matchPattern"],
            "pricingTiers": tiers,
        }

    def answer(self, method, url, body):
        if self.busy:
            self.busy -= 1
            return 503, {"message": "busy"}
        if method == "GET":
            query = {key: int(values[0]) for key, values in parse_qs(url.query).items()}
            page, limit = query["page"], query["limit"]
            pages = -(-len(self.models) // limit)
            meta = {"page": page, "limit": limit, "totalItems": len(self.models), "totalPages": pages}
            return 200, {"data": self.models[(page - 1) * limit : page * limit], "meta": meta}
        if method == "DELETE":
            key = url.path.rsplit("/", 1)[1]
            found = [m for m in self.models if m["id"] == key and not m["isLangfuseManaged"]]
            if not found:
                return 404, {"message": "No model found"}
            self.models.remove(found[0])
            return 200, {"message": "deleted"}
        if body["modelName"] == self.refused or any(m["modelName"] == body["modelName"] for m in self.models):
            return 400, {"message": f"Model name '{body['modelName']}' already exists in project"}
        (tier,) = body["pricingTiers"]
        sound = body["unit"] in UNITS and tier["isDefault"] and tier["priority"] == 0 and tier["conditions"] == []
        if not sound or not all(isinstance(usd, float) and usd > 0 for usd in tier["prices"].values()):
            return 400, {"message": "Invalid request data"}
        self.models.append(self._stored(f"own-{len(self.requests)}", body))
        return 200, self.models[-1]

    def own(self):
        return {model["modelName"]: model for model in self.models if not model["isLangfuseManaged"]}


@pytest.fixture
def project():
    project = Project()
    expected = "Basic " + base64.b64encode(f"pk-lf-1:{SECRET}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            project.requests.append(self.command)
            status, answer = 401, {"message": "Invalid credentials"}
            if self.headers["Authorization"] == expected and url.path.startswith("/api/public/models"):
                status, answer = project.answer(self.command, url, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # http.server names them

        def log_message(self, *_arguments) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    project.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield project
    server.shutdown()
    server.server_close()


def push(project: Project, *arguments: str, secret: str = SECRET, **environment: str):
    keys = {"LANGFUSE_BASE_URL": project.url, "LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": secret}
    result = run("langfuse", "push-models", *arguments, **{**keys, **environment})
    assert SECRET not in result.output + result.stderr
    return result


def test_every_voice_model_with_an_id_becomes_a_definition(project):
    assert push(project).exit_code == 0

    own = project.own()
    assert set(own) == set(DEFINITIONS)
    nova = own["voice-cost: deepgram/nova-3 stt"]
    assert nova["pricingTiers"][0]["prices"] == {"input_audio_milliseconds": 0.00000008}
    assert (nova["unit"], nova["matchPattern"]) == ("MILLISECONDS", r"(?i)^(nova\-3|nova\-3\-general)$")
    assert own["voice-cost: cartesia/sonic-3 tts"]["pricingTiers"][0]["prices"] == {"input_characters": 0.00005}
    assert own["voice-cost: openai/gpt-4o-mini-tts tts"]["pricingTiers"][0]["prices"] == {
        "input_text_tokens": 0.0000006,
        "output_audio_tokens": 0.000012,
    }


def test_no_pattern_matches_what_says_nothing_or_everything():
    assert len(DEFINITIONS) > 100
    for definition in DEFINITIONS.values():
        pattern = re.compile(definition.pattern)
        assert not any(pattern.search(name) for name in ("unknown", "default", "auto", "gpt-4.1", "my-model", ""))


def test_a_second_push_changes_nothing(project):
    push(project)
    before, project.requests = dict(project.own()), []

    assert push(project).exit_code == 0
    assert project.own() == before
    assert set(project.requests) == {"GET"}


def test_a_changed_price_replaces_its_model(project):
    push(project)
    mine = '{"deepgram/nova-3": {"stt": "0.0060/min"}}'
    steps = {
        step["model"]: step["action"] for step in json.loads(push(project, "--json", VOICE_COST_PRICES=mine).output)
    }

    assert {name for name, action in steps.items() if action != "keep"} == {"voice-cost: deepgram/nova-3 stt"}
    prices = project.own()["voice-cost: deepgram/nova-3 stt"]["pricingTiers"][0]["prices"]
    assert prices == {"input_audio_milliseconds": 0.0000001}


def test_a_price_of_ones_own_wins_over_the_shipped_one_of_the_same_ids(project):
    """$0.36 an hour are a ten-millionth of a dollar per millisecond."""
    push(project, VOICE_COST_PRICES='{"elevenlabs/scribe_v2_realtime*": {"stt": "0.36/hour"}}')

    prices = project.own()["voice-cost: elevenlabs/scribe_v2_realtime* stt"]["pricingTiers"][0]["prices"]
    assert prices == {"input_audio_milliseconds": 0.0000001}


def test_a_dry_run_does_nothing(project):
    result = push(project, "--dry-run")

    assert project.own() == {}
    assert "create" in result.output
    assert "input_characters 0.00005" in result.output


def test_delete_removes_ours_alone(project):
    push(project)
    push(project, "--delete")

    assert project.own() == {}
    assert len(project.models) == 150


def test_a_busy_server_is_asked_again(project):
    project.busy = 1

    assert push(project).exit_code == 0
    assert len(project.own()) == len(DEFINITIONS)


def test_a_refused_model_is_named_and_the_others_are_made(project):
    project.refused = "voice-cost: deepgram/nova-3 stt"
    result = push(project)

    assert result.exit_code == 1
    assert f"400 Model name '{project.refused}' already exists in project" in result.stderr
    assert len(project.own()) == len(DEFINITIONS) - 1


def test_wrong_and_missing_credentials_are_named_and_not_shown(project):
    assert "Langfuse: 401 Invalid credentials" in push(project, secret="sk-lf-wrong").stderr
    missing = push(project, secret="")
    assert missing.stderr == "LANGFUSE_SECRET_KEY: got nothing, expected a key of your Langfuse project\n"
    assert missing.exit_code == 1


def test_a_server_that_is_not_there_is_named(project):
    result = push(project, LANGFUSE_BASE_URL="http://127.0.0.1:9")

    assert result.exit_code == 1
    assert "Langfuse: ConnectError" in result.stderr
