"""The deployment: images pinned, ports closed, every command and every variable one that the program knows."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from stacpin.cli import app
from stacpin.cli.service_command import PREFIX, ServiceCommand

REPOSITORY = Path(__file__).resolve().parents[2]
ONE_SHOTS = {"bucket", "catalog", "schema", "rights"}
SERVICE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "deploy", "entrypoint", "environment",
    "healthcheck", "image", "networks", "ports", "read_only", "restart",
    "secrets", "security_opt", "shm_size", "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip
# Read by boto3, by obstore, and by OpenTelemetry's SDK.
OF_LIBRARIES = {
    "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_SHARED_CREDENTIALS_FILE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
}  # fmt: skip
OF_ALL_COMMANDS = {"STACPIN_CACHE", "STACPIN_CATALOG"}
COMMANDS = typer.main.get_command(app).commands


def ours(compose) -> dict[str, dict[str, Any]]:
    return {name: each for name, each in compose["services"].items() if each["image"].startswith("stacpin:")}


def test_its_form(compose):
    assert compose.keys() <= {
        "name",
        "services",
        "networks",
        "volumes",
        "secrets",
        "x-stacpin",
        "x-catalog",
        "x-reading",
    }
    for name, service in compose["services"].items():
        assert service.keys() <= SERVICE_KEYS, name
        assert isinstance(service.get("environment", {}), dict), name
        assert set(service["networks"]) <= compose["networks"].keys(), name
        assert set(service.get("secrets", [])) <= compose["secrets"].keys(), name
        for volume in service.get("volumes", []):
            source, target = volume.split(":")
            assert source in compose["volumes"], name
            assert target.startswith("/"), name


def test_images_are_pinned(compose):
    version = re.compile(r"[a-z0-9./-]+:\d+[.-]\d+(\.\d+)?")
    for name, service in compose["services"].items():
        assert version.fullmatch(service["image"]), name
    assert len({service["image"] for service in ours(compose).values()}) == 1


def test_nothing_is_published_but_the_api_on_this_machine(compose):
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(published) == {"api"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert compose["networks"]["inside"] == {"internal": True}
    for name, service in compose["services"].items():
        assert "inside" in service["networks"], name
        assert name == "api" or service["networks"] == ["inside"], name


def test_everything_is_bounded_and_has_little_power(compose):
    for name, service in compose["services"].items():
        limits = service["deploy"]["resources"]["limits"]
        assert float(limits["cpus"]) > 0, name
        assert re.fullmatch(r"\d+[mg]", limits["memory"]), name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.keys() & {"privileged", "cap_add", "pid", "ipc", "devices"}, name
        assert not any("docker.sock" in volume for volume in service.get("volumes", [])), name
    for name, service in ours(compose).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert any(each.startswith("/tmp:") for each in service["tmpfs"]), name
        assert "volumes" not in service, name


def test_secrets_are_files_and_stand_nowhere_else(compose):
    made = (REPOSITORY / "docker/secrets.sh").read_text()
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"secrets/{name}"}
        assert f"make {name}" in made
    text = (REPOSITORY / "docker/compose.yaml").read_text()
    assert not re.search(r"(?i)(password|secret_?(access_)?key|token)\s*[:=]\s*[^\s{/]", text)
    assert not re.search(r"://[^\s/]*:[^\s/]*@", text)
    assert {"docker/secrets/", "docker/access/"} <= set((REPOSITORY / ".gitignore").read_text().splitlines())
    for name, service in compose["services"].items():
        files = {value for value in service.get("environment", {}).values() if str(value).startswith("/run/secrets/")}
        files |= set(re.findall(r"/run/secrets/\w+", " ".join(service.get("command", []))))
        assert files == {f"/run/secrets/{each}" for each in service.get("secrets", [])}, name


def test_who_answers_can_only_read(compose):
    for name in ("api", "follower"):
        secrets = set(compose["services"][name]["secrets"])
        assert not secrets & {"aws_credentials", "database_url", "database_password", "s3_identities"}, name
    assert "database_url_read" in compose["services"]["api"]["secrets"]


def test_services_wait_for_what_they_need(compose):
    services = compose["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], name
            elif how["condition"] == "service_completed_successfully":
                assert other in ONE_SHOTS, name
            else:
                assert how["condition"] == "service_started", name
    for name, service in services.items():
        # The API has the image's own check; a program that ends, or that only follows, has none.
        checked = service.get("healthcheck", {"image": "has one"})
        assert (checked == {"disable": True}) is (name in {*ONE_SHOTS, "follower"}), name
        if "test" in checked:
            assert checked["test"][0] == "CMD", name
            assert checked.keys() == {"test", "interval", "timeout", "retries", "start_period"}, name
        assert service["restart"] == ("no" if name in ONE_SHOTS else "unless-stopped"), name


def test_the_grace_is_longer_than_the_shutdown(compose, stages):
    api = compose["services"]["api"]
    environment = api["environment"]
    needed = int(environment["STACPIN_DRAIN_SECONDS"]) + int(environment["STACPIN_SHUTDOWN_SECONDS"]) + 5
    assert int(api["stop_grace_period"].removesuffix("s")) > needed


def words_of(service: dict[str, Any]) -> list[str] | None:
    """The words of the command line; None for what is not ours."""
    return None if "entrypoint" in service else [str(word) for word in service["command"]]


def test_every_command_is_one_with_options_that_it_has(compose, stages, monkeypatch):
    (default,) = stages[-1].all("CMD")
    commands = [default.words, *filter(None, map(words_of, ours(compose).values()))]
    for name in list(os.environ):
        if name.startswith(f"{PREFIX}_"):
            monkeypatch.delenv(name)
    for words in commands:
        COMMANDS[words[0]].make_context(words[0], words[1:])


def test_the_one_with_access_only_changes_the_api(compose, secured, monkeypatch):
    for name in list(os.environ):
        if name.startswith(f"{PREFIX}_"):
            monkeypatch.delenv(name)
    api, helper = secured["services"]["api"], secured["services"]["reads"]
    assert secured["services"].keys() == {"api", "reads"}
    assert api.keys() == {"command", "volumes", "depends_on"}
    # Compose merges it with what the API waits for anyway. Without it, `up --wait` fails where a container ends
    # (docker/compose#9572: those that somebody waits for with this condition may end).
    assert api["depends_on"] == {"reads": {"condition": "service_completed_successfully"}}
    given, before = (
        COMMANDS["serve"].make_context("serve", each["command"][1:]).params
        for each in (api, compose["services"]["api"])
    )
    changed = {name: value for name, value in given.items() if value != before[name]}
    assert {name: str(value) for name, value in changed.items()} == {
        "access": "/run/access/access.toml",
        "public": "False",
    }
    assert helper["image"] == compose["services"]["api"]["image"]
    assert helper["network_mode"] == "none"


def known_to(command: str) -> set[str]:
    found = COMMANDS[command]
    if not isinstance(found, ServiceCommand):
        return OF_ALL_COMMANDS
    own = {f"{PREFIX}_{each.name.upper()}" for each in found.get_params(found.make_context(command, []))}
    return OF_ALL_COMMANDS | own | {f"{name}_FILE" for name in own}


def test_every_variable_is_one_that_the_program_reads(compose, stages, monkeypatch):
    for name in list(os.environ):
        if name.startswith(f"{PREFIX}_"):
            monkeypatch.delenv(name)
    in_image = {part.partition("=")[0] for each in stages[-1].all("ENV") for part in each.text.split()}
    assert {name for name in in_image if name.startswith(f"{PREFIX}_")} <= OF_ALL_COMMANDS
    for name, service in ours(compose).items():
        words = words_of(service)
        known = set(OF_LIBRARIES)
        if words is not None and words[0] in COMMANDS:
            known |= known_to(words[0])
        else:
            known |= OF_ALL_COMMANDS
        assert set(service["environment"]) <= known, name


def test_what_the_operator_may_set_is_in_the_example(compose):
    text = (REPOSITORY / "docker/compose.yaml").read_text()
    used = set(re.findall(r"\$\{([A-Z_]+)", text))
    example = (REPOSITORY / "docker/.env.example").read_text()
    assert used == set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))


def test_a_read_only_container_with_access_has_a_folder_for_its_log():
    page = (REPOSITORY / "docker/README.md").read_text().replace("\\\n", " ")
    (command,) = (line for line in page.splitlines() if "docker run" in line and "--access" in line)
    assert "--read-only" in command
    assert re.search(r'-v "\$PWD/reads:/var/log/stacpin" ', command)  # where docs/service.md and compose have it
    log = re.search(r'path = "(\S+)/reads.jsonl"', (REPOSITORY / "docs/service.md").read_text())
    assert log is not None
    assert log[1] == "/var/log/stacpin"


@pytest.mark.parametrize("words", [["serve", "--nonsense"], ["serve", "--workers", "many"], ["serve", "--metrics"]])
def test_the_check_of_commands_finds_mistakes(words):
    with pytest.raises(Exception, match=r"(?i)no such option|valid integer|requires an argument"):
        COMMANDS[words[0]].make_context(words[0], words[1:])
