"""Model definitions, pushed to a server that follows Langfuse's API reference."""

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
from otel_voice_cost.cli.langfuse import to_definitions

from .test_commands import run

AT = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
DEFINITIONS = {d.name: d for d in to_definitions(PriceCatalog.default(), AT)}
SECRET = "sk-lf-do-not-print"
SECRETS = (SECRET, "pk-lf-1", base64.b64encode(f"pk-lf-1:{SECRET}".encode()).decode())
NOVA = "deepgram/nova-3 stt (voice-cost)"
NOVA_PATTERN = r"(?i)^(nova\-3|nova\-3\-general)$"
DEARER = '{"deepgram/nova-3": {"stt": "0.0060/min"}}'  # $0.0001 a second
UNITS = {"TOKENS", "CHARACTERS", "MILLISECONDS", "SECONDS", "REQUESTS", "IMAGES"}


class Project:
    """The models of a Langfuse project; Langfuse's own are listed too and cannot be deleted."""

    def __init__(self) -> None:
        self.models = [
            self._stored(str(n), {"modelName": f"gpt-{n}", "matchPattern": "x"}, managed=True) for n in range(150)
        ]
        self.busy = 0  # answers 503 that often first
        self.refused = ""  # a name that is answered 400
        self.writes: int | None = None  # how many are done before all others are answered 403
        self.reply: tuple[int, str, str] | None = None  # status, content type and body of every answer
        self.requests: list[str] = []
        self.losses = 0  # how often no model of nova-3 was left

    def add(self, name, pattern="(?i)^(.+)$", **fields):
        """Add a model to the project."""
        body = {"modelName": name, "matchPattern": pattern, "unit": "CHARACTERS", **fields}
        self.models.append(self._stored(f"seed-{len(self.models)}", body))

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

    def add_all(self):
        """Add the models that a push creates."""
        for definition in DEFINITIONS.values():
            tier = {"name": "Standard", "isDefault": True, "priority": 0, "conditions": [], "prices": definition.prices}
            self.add(definition.name, definition.pattern, unit=definition.unit, pricingTiers=[tier])

    def prices_of(self, model):
        """Name and price of each model that a span of a model could be given."""
        return [
            (m["modelName"], *m["pricingTiers"][0]["prices"].values())
            for m in self.models
            if re.search(m["matchPattern"], model)
        ]

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
        if self.writes is not None:
            if self.writes == 0:
                return 403, {"message": "Access denied"}
            self.writes -= 1
        if method == "DELETE":
            key = url.path.rsplit("/", 1)[1]
            found = [m for m in self.models if m["id"] == key and not m["isLangfuseManaged"]]
            if not found:
                return 404, {"message": "No model found"}
            self.models.remove(found[0])
            if re.search(found[0]["matchPattern"], "nova-3") and not self.prices_of("nova-3"):
                self.losses += 1
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
            status, form, text = project.reply or (status, "application/json", json.dumps(answer))
            self.send_response(status)
            self.send_header("Content-Type", form)
            self.end_headers()
            self.wfile.write(text.replace("$AUTHORIZATION", self.headers["Authorization"]).encode())

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # http.server names them

        def log_message(self, *_arguments) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    project.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield project
    server.shutdown()
    server.server_close()


def push(project: Project, *arguments: str, secret: str = SECRET, **environment: str):
    keys = {"LANGFUSE_BASE_URL": project.url, "LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": secret}
    result = run("langfuse", "push-models", *arguments, **{**keys, **environment})
    assert not any(secret in result.output + result.stderr for secret in SECRETS)
    return result


def actions(result) -> dict[str, str]:
    """Return the actions on models that were not kept."""
    return {step["model"]: step["action"] for step in json.loads(result.stdout) if step["action"] != "keep"}


def test_every_voice_model_with_an_id_becomes_a_definition(project):
    assert push(project).exit_code == 0

    own = project.own()
    assert set(own) == set(DEFINITIONS)
    nova = own[NOVA]
    assert nova["pricingTiers"][0]["prices"] == {"input_audio_seconds": 0.00008}
    assert (nova["unit"], nova["matchPattern"]) == ("SECONDS", r"(?i)^(nova\-3|nova\-3\-general)$")
    assert own["cartesia/sonic-3 tts (voice-cost)"]["pricingTiers"][0]["prices"] == {"input_characters": 0.00005}
    assert own["openai/gpt-4o-mini-tts tts (voice-cost)"]["pricingTiers"][0]["prices"] == {
        "input_text_tokens": 0.0000006,
        "output_audio_tokens": 0.000012,
    }


def test_no_pattern_matches_unspecific_or_unrelated_names():
    assert len(DEFINITIONS) > 100
    for definition in DEFINITIONS.values():
        pattern = re.compile(definition.pattern)
        assert not any(pattern.search(name) for name in ("unknown", "default", "auto", "gpt-4.1", "my-model", ""))


UNRELATED = (
    "custom-llm",
    "custom",
    "studio",
    "my-studio-model",
    "google",
    "standard",
    "medical-llm",
    "generative",
    "tts-2",
)


def test_no_pattern_matches_the_plain_words_of_other_peoples_models():
    """A project's own definition takes precedence over Langfuse's, and has no tokenizer."""
    found = [(name, d.name) for name in UNRELATED for d in DEFINITIONS.values() if re.search(d.pattern, name)]

    assert found == []


@pytest.mark.parametrize(
    ("voice", "definition"),
    [
        ("en-US-Studio-O", "google/*studio* tts (voice-cost)"),
        ("cmn-CN-Standard-A", "google/*-standard-* tts (voice-cost)"),
        ("en-US-JennyNeural", "azure/*neural tts (voice-cost)"),
        ("falcon-2", "murf/falcon tts (voice-cost)"),
        ("aura-asteria-en", "deepgram/aura tts (voice-cost)"),
    ],
)
def test_a_narrow_pattern_still_matches_its_models(voice, definition):
    assert [d.name for d in DEFINITIONS.values() if re.search(d.pattern, voice)] == [definition]


def test_a_model_is_priced_by_one_definition_or_by_equal_ones():
    """Langfuse knows a model by its name alone: it could take the price of another vendor."""
    ids = {name.replace("\\", "") for d in DEFINITIONS.values() for name in d.pattern[6:-2].split("|")}
    for name in ids:
        prices = [d.prices for d in DEFINITIONS.values() if re.search(d.pattern, name)]
        assert all(one == prices[0] for one in prices), name


def test_a_dry_run_needs_no_keys(project):
    result = push(project, "--dry-run", "--json", secret="", LANGFUSE_PUBLIC_KEY="")

    assert result.exit_code == 0
    assert {step["model"] for step in json.loads(result.stdout)} == set(DEFINITIONS)
    assert "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY not set" in result.stderr
    assert project.requests == []


def test_definitions_under_the_names_of_earlier_versions_are_replaced(project):
    project.add("voice-cost: deepgram/nova-3 stt", NOVA_PATTERN)

    assert actions(push(project, "--json"))["voice-cost: deepgram/nova-3 stt"] == "delete"
    assert set(project.own()) == set(DEFINITIONS)


def test_a_second_push_changes_nothing(project):
    push(project)
    before, project.requests = dict(project.own()), []

    assert push(project).exit_code == 0
    assert project.own() == before
    assert set(project.requests) == {"GET"}


def test_a_changed_price_replaces_its_model(project):
    push(project)

    assert actions(push(project, "--json", VOICE_COST_PRICES=DEARER)) == {NOVA: "replace"}
    assert project.prices_of("nova-3") == [(NOVA, 0.0001)]


def test_a_custom_price_overrides_the_shipped_one_with_the_same_ids(project):
    """$0.36 an hour are a ten-thousandth of a dollar per second."""
    push(project, VOICE_COST_PRICES='{"elevenlabs/scribe_v2_realtime*": {"stt": "0.36/hour"}}')

    prices = project.own()["elevenlabs/scribe_v2_realtime* stt (voice-cost)"]["pricingTiers"][0]["prices"]
    assert prices == {"input_audio_seconds": 0.0001}


def test_a_dry_run_does_nothing(project):
    result = push(project, "--dry-run")

    assert project.own() == {}
    assert "create" in result.output
    assert "input_characters 0.00005" in result.output


def test_delete_removes_only_own_models(project):
    push(project)
    push(project, "--delete")

    assert project.own() == {}
    assert len(project.models) == 150


def test_a_request_to_a_busy_server_is_retried(project):
    project.busy = 1

    assert push(project).exit_code == 0
    assert len(project.own()) == len(DEFINITIONS)


def test_a_rejected_model_is_reported_and_the_others_are_created(project):
    project.refused = NOVA
    result = push(project)

    assert result.exit_code == 1
    assert f"{project.refused}: 400 already exists in project" in result.stderr
    assert len(project.own()) == len(DEFINITIONS) - 1


@pytest.mark.parametrize("writes", range(5))
def test_no_model_is_lost_if_the_server_starts_to_reject_writes(project, writes):
    """A price of $0.0060 a minute takes four writes; the model exists after each, and the next run completes them."""
    project.add_all()
    project.writes = writes
    refused = push(project, VOICE_COST_PRICES=DEARER)

    assert (refused.exit_code, f"{NOVA}: 403 no access to this project" in refused.stderr) == (
        int(writes < 4),
        writes < 4,
    )
    project.writes = None
    assert push(project, VOICE_COST_PRICES=DEARER).exit_code == 0
    assert project.prices_of("nova-3") == [(NOVA, 0.0001)]
    assert project.losses == 0


@pytest.mark.parametrize("writes", range(5))
def test_an_interrupted_run_is_completed_with_current_prices(project, writes):
    """The first run wanted $0.0060, this one the list price of $0.0048."""
    project.add_all()
    project.writes = writes
    push(project, VOICE_COST_PRICES=DEARER)
    project.writes = None
    push(project)

    assert project.prices_of("nova-3") == [(NOVA, 0.00008)]
    assert set(project.own()) == set(DEFINITIONS)
    assert project.losses == 0


def test_delete_removes_the_remains_of_an_interrupted_run(project):
    project.add_all()
    project.writes = 2
    push(project, VOICE_COST_PRICES=DEARER)
    project.writes = None
    push(project, "--delete")

    assert project.own() == {}


def test_models_no_longer_in_the_catalog_are_removed(project):
    project.add_all()
    project.add("acme/voice-1 tts (voice-cost)")

    assert actions(push(project, "--json")) == {"acme/voice-1 tts (voice-cost)": "delete"}
    assert set(project.own()) == set(DEFINITIONS)


def test_a_dry_run_shows_what_would_be_removed(project):
    project.add("acme/voice-1 tts (voice-cost)")

    assert actions(push(project, "--dry-run", "--json"))["acme/voice-1 tts (voice-cost)"] == "delete"
    assert set(project.own()) == {"acme/voice-1 tts (voice-cost)"}


@pytest.mark.parametrize("arguments", [(), ("--delete",)])
def test_other_models_are_not_touched(project, arguments):
    """By their name, or by a pattern that this command never writes."""
    others = {
        "voice-cost: my notes": "(?i)^(.+)$",
        "my voice-cost: acme/voice-1 tts": "(?i)^(.+)$",
        "acme/voice-1 llm (voice-cost)": "(?i)^(.+)$",
        "acme/voice-1 tts (voice-cost) copy": "(?i)^(.+)$",
        "acme/voice-2 tts (voice-cost)": "^voice-2$",
        "acme/voice-1 tts": "(?i)^(.+)$",
    }
    project.add_all()
    for name, pattern in others.items():
        project.add(name, pattern)
    push(project, *arguments)

    assert set(others) <= set(project.own())


def test_nothing_is_removed_while_new_models_are_rejected(project):
    """A model that is in the catalog under another name would be lost."""
    project.add_all()
    del project.models[[m["modelName"] for m in project.models].index(NOVA)]
    project.add("deepgram/nova-3-old stt (voice-cost)", NOVA_PATTERN)
    project.refused = NOVA
    result = push(project)

    assert "deepgram/nova-3-old stt (voice-cost)" in project.own()
    assert "nova-3-old stt (voice-cost): not deleted, because other models could not be made" in result.stderr


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((200, "text/html; charset=utf-8", "<html>$AUTHORIZATION</html>"), "200, expected JSON, got text/html from"),
        ((200, "text/$AUTHORIZATION", "pk-lf-1"), "200, expected JSON, got another form from"),
        ((404, "text/html", "<html></html>"), "404, expected JSON, got text/html from"),
        ((400, "application/json", '{"message": "bad header $AUTHORIZATION"}'), "400 from"),
        ((401, "application/json", '{"message": "$AUTHORIZATION: sk-lf-do-not-print"}'), "401 Invalid credentials"),
        (
            (200, "application/json", '{"data": "$AUTHORIZATION"}'),
            "got JSON of another form, expected Langfuse's, from",
        ),
    ],
)
def test_no_response_body_is_printed(project, reply, message):
    project.reply = reply
    result = push(project)

    assert result.exit_code == 1
    assert f"Langfuse: {message}" in result.stderr
    assert ("401" in message) or f"from {project.url}/api/public/models" in result.stderr


def test_a_password_in_the_address_is_not_shown(project):
    project.reply = (200, "text/html", "")
    result = push(project, LANGFUSE_BASE_URL=project.url.replace("//", "//user:hunter2@"))

    assert f"from {project.url}/api/public/models" in result.stderr
    assert "hunter2" not in result.stderr + result.output


def test_a_model_named_after_a_key_is_not_shown(project):
    project.add(f"acme/{SECRET} tts (voice-cost)")

    assert push(project, "--delete").exit_code == 0


def test_wrong_and_missing_credentials_are_reported_but_not_shown(project):
    assert "Langfuse: 401 Invalid credentials" in push(project, secret="sk-lf-wrong").stderr
    missing = push(project, secret="")
    assert missing.stderr == "LANGFUSE_SECRET_KEY: got nothing, expected a key of your Langfuse project\n"
    assert missing.exit_code == 2


def test_an_unreachable_server_is_reported(project):
    result = push(project, LANGFUSE_BASE_URL="http://127.0.0.1:9")

    assert result.exit_code == 1
    assert "Langfuse: ConnectError" in result.stderr
