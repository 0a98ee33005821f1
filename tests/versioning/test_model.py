"""The version store against a model of plain dictionaries: random histories on stores that fail.

The short profile. ``make test-long`` runs the same machine for an hour (tools/test_long.py) and reports what it did.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from model_runs import machine_on, run_machine
from s3 import S3Server


def test_histories_in_memory():
    run_machine(machine_on("memory"), examples=3, steps=12)


def test_histories_on_a_local_disk(tmp_path: Path):
    # In memory where there is such a folder: a sync there takes no time, and the model plays the power cuts.
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(tmp_path)
    run_machine(machine_on("local", folder), examples=3, steps=10)


@pytest.mark.slow
def test_histories_on_s3(s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    run_machine(machine_on("s3", s3_bucket), examples=3, steps=10)
