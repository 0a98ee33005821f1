"""The image by those rules of hadolint (https://github.com/hadolint/hadolint#rules) that matter to it."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import dockerfiles
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted(path for path in REPOSITORY.glob("docker/**/*") if path.name.startswith("Dockerfile"))
PINNED = re.compile(r"[a-z0-9./-]+:(\d+\.\d+(?:\.\d+)?[a-z0-9.-]*)(?:@sha256:[0-9a-f]{64})?")


def refused(text: str) -> list[str]:
    """What is wrong with a Dockerfile: rules by their codes."""
    stages = dockerfiles.read(text)
    names = [stage.name for stage in stages if stage.name]
    found = ["DL3024 stages of one name"] if len(set(names)) != len(names) else []
    for place, stage in enumerate(stages):
        if stage.image not in names[:place] and not PINNED.fullmatch(stage.image):
            found.append(f"DL3006/DL3007 {stage.image} is not pinned")
        for each in stage.instructions:
            found += [f"{rule} {each.text}" for rule in _one(each, names[:place])]
        for name in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
            if len(stage.all(name)) > 1:
                found.append(f"DL3012/DL4003/DL4004 {name} more than once")
    last = stages[-1]
    users = last.all("USER")
    if not users or users[-1].text.partition(":")[0] in {"root", "0"}:
        found.append("DL3002 the last user is root")
    found += [f"DL3057 no {name}" for name in ("CMD", "ENTRYPOINT", "HEALTHCHECK") if not last.all(name)]
    return found


def _one(each: dockerfiles.Instruction, stages: list[str]) -> list[str]:
    if each.name == "WORKDIR":
        return [] if each.text.startswith("/") else ["DL3000"]
    if each.name in {"CMD", "ENTRYPOINT", "HEALTHCHECK"}:
        try:
            dockerfiles.health_command(each) if each.name == "HEALTHCHECK" else each.words
        except ValueError:
            return ["DL3025"]
        return []
    if each.name == "COPY":
        source = each.flags.get("from")
        return ["DL3022"] if source is not None and source not in stages else []
    if each.name == "EXPOSE":
        return [] if each.text.isdigit() and 0 < int(each.text) < 65536 else ["DL3011"]
    if each.name != "RUN":
        return []
    found = []
    words = each.text.split()
    if "sudo" in words:
        found.append("DL3004")
    if "cd" in words:
        found.append("DL3003")
    if "curl" in words and "|" in words:
        found.append("DL4006")
    if "apt-get" in words:
        if "install" in words and not ("-y" in words and "--no-install-recommends" in words):
            found.append("DL3014/DL3015")
        if "rm -rf /var/lib/apt/lists/*" not in each.text:
            found.append("DL3009")
        if "upgrade" in words or "dist-upgrade" in words:
            found.append("DL3005")
    if "pip" in words:
        start = words.index("pip")
        packages = [word.strip("\"'") for word in words[start + 2 :] if not word.startswith("-")]
        if not all("==" in package for package in packages):
            found.append("DL3013")
        if "--no-cache-dir" not in words:
            found.append("DL3042")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_no_rule_is_broken(file):
    assert refused(file.read_text()) == []


GOOD = """\
FROM python:3.11.14-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv==1.0
FROM python:3.11.14-slim
COPY --from=build /app /app
WORKDIR /app
USER 10001
HEALTHCHECK --interval=5s CMD ["true"]
ENTRYPOINT ["stacpin"]
CMD ["serve"]
"""


def test_the_rules_let_pass_what_is_right():
    assert refused(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("FROM python:3.11.14-slim\n", "FROM python:latest\n", "DL3006"),
        ("FROM python:3.11.14-slim\n", "FROM python\n", "DL3006"),
        ("FROM python:3.11.14-slim\n", "FROM python:3-slim\n", "DL3006"),
        ("FROM python:3.11.14-slim\n", "FROM python:3.11.14-slim AS build\n", "DL3024"),
        ("USER 10001\n", "", "DL3002"),
        ("USER 10001\n", "USER 10001\nUSER root\n", "DL3002"),
        ("USER 10001\n", "USER 0:0\n", "DL3002"),
        ("--from=build", "--from=other", "DL3022"),
        ("WORKDIR /app", "WORKDIR app", "DL3000"),
        ('CMD ["serve"]', "CMD serve", "DL3025"),
        ('ENTRYPOINT ["stacpin"]', "ENTRYPOINT stacpin", "DL3025"),
        ('HEALTHCHECK --interval=5s CMD ["true"]', "HEALTHCHECK CMD true", "DL3025"),
        ('HEALTHCHECK --interval=5s CMD ["true"]\n', "", "DL3057"),
        ('CMD ["serve"]\n', 'CMD ["serve"]\nCMD ["serve"]\n', "DL4003"),
        (" && rm -rf /var/lib/apt/lists/*", "", "DL3009"),
        (" --no-install-recommends", "", "DL3015"),
        ("uv==1.0", "uv", "DL3013"),
        ("--no-cache-dir ", "", "DL3042"),
        ("RUN pip", "RUN sudo pip", "DL3004"),
        ("RUN pip", "RUN cd /x && pip", "DL3003"),
        ("WORKDIR /app", "EXPOSE http", "DL3011"),
    ],
)
def test_each_rule_finds_what_is_wrong(old, new, rule):
    assert old in GOOD
    found = refused(GOOD.replace(old, new))
    assert any(rule in each for each in found), found


@pytest.mark.parametrize(
    "text",
    [
        "ADD x y",
        "run true",
        "COPY --from=x --from=y a b",
        "RUN",
        "FROM a AS",
        "RUN x \\",
        "ONBUILD RUN x",
        "MAINTAINER x",
    ],
)
def test_what_is_not_known_is_no_dockerfile(text):
    with pytest.raises(ValueError):
        dockerfiles.read(f"FROM python:3.11\n{text}\n")


def test_what_is_copied_is_there_and_nothing_else_reaches_the_builder(stages):
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {line[1:] for line in rules if line.startswith("!")}
    copied = {
        source.partition("/")[0]
        for stage in stages
        for each in stage.all("COPY")
        if "from" not in each.flags
        for source in each.text.split()[:-1]
    }
    assert copied == allowed
    assert all((REPOSITORY / name).exists() for name in allowed)
    assert "api/browser/dist" in rules  # only what the image itself has built


def test_every_package_of_the_wheel_is_in_the_image(stages):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = {each.text.split()[0] for stage in stages for each in stage.all("COPY")}
    assert set(packages) <= copied
    extras = project["project"]["optional-dependencies"]
    synced = " ".join(each.text for stage in stages for each in stage.all("RUN"))
    assert {"service", "otel"} == set(re.findall(r"--extra (\S+)", synced))
    assert {"service", "otel"} <= extras.keys()
    assert "--frozen" in synced


def test_what_the_image_says_of_itself(stages):
    labels = {key for each in stages[-1].all("LABEL") for key in dockerfiles.pairs(each)}
    wanted = {"title", "description", "licenses", "version", "revision"}
    assert {f"org.opencontainers.image.{name}" for name in wanted} <= labels
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in [each.text for each in stages[-1].all("ARG")]


def test_the_health_command_is_python_and_no_shell(stages):
    (check,) = stages[-1].all("HEALTHCHECK")
    program, flag, code = dockerfiles.health_command(check)
    assert (program, flag) == ("python", "-c")
    ast.parse(code)
    assert "/_mgmt/health" in code
    assert {"interval", "timeout", "start-period", "retries"} == check.flags.keys()
