"""docs/service.md: every option, default, metric and route that it names is there, and none is left out."""

from __future__ import annotations

import re
from pathlib import Path

import typer
import yaml
from prometheus_client.exposition import generate_latest

from api.service.metrics import Lag, Metrics
from stacpin.cli import app

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs/service.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_option_of_serve_is_told_with_its_default():
    command = typer.main.get_command(app).commands["serve"]
    options = {each.opts[0]: each.default for each in command.get_params(command.make_context("serve", []))}
    options = {name: default for name, default in options.items() if name not in {"--catalog", "--help"}}
    told: dict[str, str] = {}
    for names, default, _ in rows(section("Settings")):
        found = re.findall(r"--[a-z-]+", names)
        parts = default.split(", ") if len(default.split(", ")) == len(found) else [default] * len(found)
        told |= dict(zip(found, parts, strict=True))
    assert told.keys() == options.keys()
    for name, default in options.items():
        said = told[name].strip("`").replace(",", "")
        if default is None or default is False or default in ("", []):
            assert said in {"", "off", "all"}, name
        else:
            assert said == str(default), name


def test_every_metric_is_told_and_there():
    metrics = Metrics()
    metrics.lag(Lag(1, 1.0))
    metrics.answered("GET", "/", 200, seconds=1, sent=1, conditional=True)
    text = generate_latest(metrics.registry).decode()
    exist = {name for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) if not name.endswith("_created")}
    table = " ".join(names for names, *_ in rows(section("Metrics")))
    told = set(re.findall(r"stacpin_\w+", table)) | {f"stacpin_store{name}" for name in re.findall(r"…(_\w+)", table)}
    assert told == exist
    rules = yaml.safe_load(section("Metrics").partition("```yaml\n")[2].partition("```")[0])
    for rule in rules["groups"][0]["rules"]:
        for name in re.findall(r"stacpin_\w+", rule["expr"]):
            assert name.removesuffix("_bucket") in exist, rule["alert"]


def test_the_parts_for_other_systems_can_be_read():
    blocks = re.findall(r"```(yaml|ini)\n(.*?)```", PAGE, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["ini", "yaml", "yaml"]
    pod = yaml.safe_load(blocks[1][1])
    (container,) = pod["containers"]
    command = typer.main.get_command(app).commands["serve"]
    known = {f"STACPIN_{each.name.upper()}" for each in command.get_params(command.make_context("serve", []))}
    assert {each["name"] for each in container["env"]} <= known
    assert container["livenessProbe"]["httpGet"]["path"] == "/_mgmt/ping"
    assert container["readinessProbe"]["httpGet"]["path"] == "/_mgmt/health"
    # Longer than drain, shutdown (25 s unless told) and what is added to them.
    drain = next(int(each["value"]) for each in container["env"] if each["name"] == "STACPIN_DRAIN_SECONDS")
    assert pod["terminationGracePeriodSeconds"] >= drain + 25 + 10
    unit = dict(line.partition("=")[::2] for line in blocks[0][1].splitlines() if "=" in line)
    assert {part.partition("=")[0] for part in unit["Environment"].split()} <= known


def test_links_lead_to_files():
    for target in re.findall(r"\]\(([^)#:]+\.md)", PAGE):
        file = REPOSITORY / "docs" / target
        # The page about access comes with it.
        assert file.is_file() or target == "access.md", target
