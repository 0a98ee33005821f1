"""Commands that run as a service take every option from the environment too, as containers want it.

One rule: ``--public-url`` is ``STACPIN_PUBLIC_URL``, and ``STACPIN_PUBLIC_URL_FILE`` names a file that holds the value,
for secrets. What stands on the command line comes first; empty variables count as unset.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from typer import BadParameter
from typer.core import TyperOption

from stacpin.cli.context import output
from stacpin.cli.plain import PlainCommand
from versioning.errors import InvalidInput

__all__ = ["PREFIX", "ServiceCommand"]

PREFIX = "STACPIN"
_FILE = "_FILE"
_LARGEST = 64 * 1024
# Those of other commands and of the tools; --catalog has its variable for all commands.
_OTHERS = frozenset(f"{PREFIX}_{name}" for name in ("AUTHOR", "CACHE", "CATALOG", "DEBUG", "MIRRORS", "SHARED_DATA"))


class ServiceCommand(PlainCommand):
    """A command whose options are also environment variables."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options."""
        found = super().get_params(ctx)
        for each in found:
            if isinstance(each, TyperOption):
                each.allow_from_autoenv = each.name not in {"catalog", "help", "json"}
                each.show_envvar = False  # the rule is said once
        return found

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take what files hold as defaults, and the variables by their names."""
        ctx.auto_envvar_prefix = PREFIX
        names = {f"{PREFIX}_{each.name.upper()}": each.name for each in self.get_params(ctx) if _from_environment(each)}
        _warn_of_slips(names)
        from_files = _from_files(names)
        ctx.default_map = {**(ctx.default_map or {}), **from_files}
        try:
            return super().parse_args(ctx, args)
        except BadParameter as error:
            error.param_hint = _place(ctx, error, names, from_files)
            raise


def _from_environment(parameter: Any) -> bool:
    return isinstance(parameter, TyperOption) and parameter.allow_from_autoenv


def _place(ctx: Any, error: Any, names: dict[str, str], from_files: dict[str, str]) -> str | None:
    """Where a value that cannot be used stands: the option, and the variable or the file's variable if it came so."""
    if error.param is None:
        return error.param_hint
    name = error.param.name
    source = getattr(ctx.get_parameter_source(name), "name", None)
    variable = next((each for each, option in names.items() if option == name), None)
    told = {"ENVIRONMENT": variable, "DEFAULT_MAP": f"{variable}{_FILE}" if name in from_files else None}.get(
        source or ""
    )
    return f"{error.param.get_error_hint()} (from {told})" if told else error.param_hint


def _from_files(names: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for variable, name in names.items():
        path = os.environ.get(variable + _FILE)
        if not path:
            continue
        if os.environ.get(variable):
            raise InvalidInput(f"{variable} and {variable}{_FILE} are both set.", hint="Unset one of the two.")
        try:
            with Path(path).open("rb") as file:
                data = file.read(_LARGEST + 1)
            text = data.decode().rstrip("\r\n")
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise InvalidInput(
                f"{variable}{_FILE}: {path} cannot be read: {said}.", hint="Name a file that holds the value alone."
            ) from error
        if not text or len(data) > _LARGEST:
            raise InvalidInput(f"{variable}{_FILE}: {path} is empty, or larger than {_LARGEST} bytes.")
        found[name] = text
    return found


def _warn_of_slips(names: dict[str, str]) -> None:
    """A variable that is nearly one of ours would be ignored without a word; Kubernetes sets many more for services."""
    known = [*names, *(name + _FILE for name in names)]
    for variable in sorted(os.environ):
        if variable.startswith(f"{PREFIX}_") and variable not in known and variable not in _OTHERS:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.85)
            if near:
                output().note(f"{variable} is no setting and is ignored; did you mean {near[0]}?")
