"""A package that is imported when it is needed, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from ingest.imports import import_later
import_later("{name}")
{more}
"""


def run(name: str, more: str) -> str:
    code = CODE.format(name=name, more=more)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_rasterio_reads_without_boto3_and_has_it_when_it_asks():
    more = """
import rasterio
from rasterio.session import AWSSession
print("botocore" in sys.modules)
session = AWSSession(aws_access_key_id="a", aws_secret_access_key="b")
print("botocore" in sys.modules, session.credentials["aws_access_key_id"])
"""
    assert run("boto3", more).split() == ["False", "True", "a"]


@pytest.mark.parametrize(
    "statement",
    ["import email.message", "from email import message_from_string", "import email; email.message_from_string",
     "import importlib.util as u; assert u.find_spec('email'); import email; email.__path__"],
)  # fmt: skip
def test_every_way_to_import_it_gives_the_package_itself(statement):
    more = f"before = 'email.message' in sys.modules\n{statement}\nimport email.message\n"
    assert run("email", f"{more}print(before, sys.modules['email'].__file__ is not None)") == "False True"


def test_what_is_not_installed_is_missing_as_ever():
    more = """
try:
    import nowhere_at_all
except ModuleNotFoundError as error:
    print(error)
"""
    assert run("nowhere_at_all", more) == "No module named 'nowhere_at_all'"


def test_what_is_there_stays():
    assert run("json", "import json; print(json.dumps([1]))") == "[1]"
