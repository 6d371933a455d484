"""The pictures of the demo's call: its bill in a terminal, and its spans in real MLflow and Phoenix servers.

The call is held twice, without the processor and with it. Run it as `make pictures`.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from urllib.request import Request, urlopen

from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

from otel_voice_cost import Settings, VoiceCostSpanProcessor
from otel_voice_cost.demo.call import hold_call
from otel_voice_cost.demo.report import print_bill
from otel_voice_cost.demo.run import run
from tests.backends.servers import serve_mlflow, serve_phoenix

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
WITHOUT, WITH = "without", "with"
TREE_WIDTH, TREE_HEIGHT = 280, 15 * 48  # of 15 spans in MLflow, from the first turn on
SCALE = 2
LOADED = 20_000  # milliseconds


@contextmanager
def served(server: Iterator[str]) -> Iterator[str]:
    """Run a server in a with statement."""
    yield next(server)
    server.close()


def ask(url: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data=data, headers={"Content-Type": "application/json"}), timeout=30) as answer:
        return json.load(answer)


def send_call(name: str, *endpoints: tuple[str, dict[str, str]]) -> None:
    """Hold the call in real time, with the processor if it has that name, and send it to several backends."""
    provider = TracerProvider(resource=Resource.create({"openinference.project.name": name}))
    if name == WITH:
        dialects = ("genai", "mlflow", "openinference")
        provider.add_span_processor(VoiceCostSpanProcessor(settings=Settings(dialects=dialects)))
    for endpoint, headers in endpoints:
        exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", headers=headers)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    set_tracer_provider(provider)
    asyncio.run(hold_call())
    provider.shutdown()


def opened(browser: Browser, url: str, width: int, height: int, text: str) -> Page:
    """Open a page, and wait for a text on it."""
    page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=SCALE)
    page.add_init_script("localStorage.setItem('arize-phoenix-theme', 'light')")
    page.goto(url)
    page.get_by_text(text, exact=True).first.wait_for(timeout=LOADED)
    page.wait_for_timeout(2_000)  # animations
    return page


def mlflow_tree(browser: Browser, mlflow: str, experiment: str) -> Image.Image:
    """Return the tree of the spans of the only trace of an experiment."""
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    (trace,) = ask(f"{mlflow}/api/3.0/mlflow/traces/search", {"locations": [place], "max_results": 5})["traces"]
    url = f"{mlflow}/#/experiments/{experiment}/traces?selectedEvaluationId={trace['trace_id']}"
    page = opened(browser, url, 1600, 1400, "agent_turn")
    turn = page.get_by_text("agent_turn", exact=True).first.bounding_box()
    assert turn is not None
    clip = {"x": 0, "y": turn["y"] - 8, "width": TREE_WIDTH, "height": TREE_HEIGHT}
    return Image.open(BytesIO(page.screenshot(clip=clip)))


def side_by_side(before: Image.Image, after: Image.Image) -> Image.Image:
    """Return two pictures with their headings."""
    gap, head = 20 * SCALE, 40 * SCALE
    picture = Image.new("RGB", (before.width + after.width + gap, before.height + head), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14 * SCALE)
    for x, tree, heading, color in ((0, before, WITHOUT, "#b3261e"), (before.width + gap, after, WITH, "#1b7f3b")):
        picture.paste(tree, (x, head))
        draw.text((x + gap, head // 3), f"{heading} otel_voice_cost", fill=color, font=font)
    draw.line((before.width + gap // 2, 0, before.width + gap // 2, picture.height), fill="#cccccc", width=SCALE)
    return picture


def phoenix_span(browser: Browser, phoenix: str) -> Image.Image:
    """Return the page of a trace with the attributes of a speech span."""
    projects = ask(f"{phoenix}/graphql", {"query": "{ projects { edges { node { id name } } } }"})
    ids = {edge["node"]["name"]: edge["node"]["id"] for edge in projects["data"]["projects"]["edges"]}
    spans = ask(f"{phoenix}/v1/projects/{WITH}/spans?limit=1000")["data"]
    speech = min((span for span in spans if span["name"] == "tts_request"), key=lambda span: span["start_time"])
    path = f"projects/{ids[WITH]}/traces/{speech['context']['trace_id']}?selectedSpanNodeId={speech['id']}"
    page = opened(browser, f"{phoenix}/{path}", 1400, 900, "agent_session")
    page.get_by_role("tab", name="Attributes").click()
    page.wait_for_timeout(2_000)
    page.get_by_text("voice_cost", exact=False).first.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    return Image.open(BytesIO(page.screenshot(clip={"x": 350, "y": 46, "width": 1050, "height": 854})))


def save(name: str, picture: Image.Image) -> None:
    colors = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    colors.save(PICTURES / f"{name}.png", optimize=True)


def draw_terminal() -> None:
    """Run the demo, and draw its bill as a terminal shows it."""
    console = Console(record=True, width=80, force_terminal=True, color_system="truecolor")
    run(
        "The call in a terminal",
        set_tracer_provider,
        lambda progress: hold_call(progress=progress),
        lambda spans, untouched, record, _: print_bill(spans, untouched, record, console),
    )
    svg = console.export_svg(title="voice-cost demo", theme=DIMMED_MONOKAI, unique_id="demo")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # pictures may not load fonts
    (PICTURES / "demo.svg").write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")


def main() -> None:
    draw_terminal()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("mlflow", "phoenix"):
            (Path(folder) / name).mkdir()
        with (
            served(serve_mlflow(Path(folder) / "mlflow")) as mlflow,
            served(serve_phoenix(Path(folder) / "phoenix")) as phoenix,
        ):
            experiments = {}
            for name in (WITHOUT, WITH):
                created = ask(f"{mlflow}/api/2.0/mlflow/experiments/create", {"name": name})
                experiments[name] = created["experiment_id"]
                send_call(name, (mlflow, {"x-mlflow-experiment-id": experiments[name]}), (phoenix, {}))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                trees = [mlflow_tree(browser, mlflow, experiments[name]) for name in (WITHOUT, WITH)]
                save("before-after", side_by_side(*trees))
                save("phoenix", phoenix_span(browser, phoenix))
                browser.close()


if __name__ == "__main__":
    main()
