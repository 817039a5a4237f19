"""Settings of a verb: a frozen dataclass, filled from default < named recipe < plan file < flags.

A verb's command is a dataclass that derives from `Verb`: its inputs, and one field `settings` whose type is the settings
dataclass that lives beside the code it configures. Field docstrings are the help texts. Flags come from tyro, files
through msgspec; each value remembers where it came from.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from selftaught.errors import InputError, UsageError


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Options that every verb has."""

    plan: Path | None = None
    """TOML or JSON file of settings, such as the plan.json of another run; flags win over it."""
    json: bool = False
    """Write the result as one JSON document to standard output and everything else to standard error."""


CommandType = TypeVar("CommandType", bound=Verb)


@dataclass(frozen=True)
class Resolved(Generic[CommandType]):
    """A command with its settings filled in, and where each setting came from."""

    command: CommandType
    sources: Mapping[str, str]
    """Dotted name of each setting -> `default`, `recipe NAME`, `plan FILE` or `flag`."""


def resolve(
    kind: type[CommandType],
    argv: Sequence[str],
    *,
    prog: str,
    recipes: Mapping[str, Any] | None = None,
    chosen_by: str = "recipe",
) -> Resolved[CommandType]:
    """Parse `argv` into a command of type `kind`.

    `recipes` maps names to settings values for commands that have a field `recipe` (or `chosen_by`). Raises UsageError for an
    unknown recipe and for unknown or ill-typed names in the plan file, InputError for a plan file that cannot be read; ill-formed
    flags end the process with status 2 and a message, as argument parsers do.
    """
    import tyro

    _name_positionals(kind)
    try:
        command = tyro.cli(kind, args=list(argv), prog=prog, config=(tyro.conf.OmitArgPrefixes,))
    except OSError as problem:
        if {"-h", "--help"}.intersection(argv):
            raise
        # What is wrong with the flags could not be told: the exit code has to.
        raise SystemExit(UsageError.exit_code) from problem
    settings = getattr(command, "settings", None)
    if settings is None:
        return Resolved(command, {})
    values = dict(_leaves(type(settings)()))
    sources = dict.fromkeys(values, "default")
    recipe = getattr(command, chosen_by, None)
    if recipes is not None and recipe is not None:
        if recipe not in recipes:
            raise unknown_name(chosen_by, recipe, recipes)
        _overlay(values, sources, dict(_leaves(recipes[recipe])), f"{chosen_by} {recipe}")
    if command.plan is not None:
        _overlay(values, sources, read_plan(command.plan, type(settings)), f"plan {command.plan}")
    given = _named_flags(argv)
    flags = {name: value for name, value in _leaves(settings) if name.rsplit(".", 1)[-1] in given}
    values.update(flags)
    sources.update(dict.fromkeys(flags, "flag"))
    changed: Any = command
    return Resolved(dataclasses.replace(changed, settings=_build(type(settings), values)), sources)


def _name_positionals(kind: type[Any]) -> None:
    """Let the help call what is given without a flag by the name of its field (MODEL), not by its type (PATH)."""
    import tyro

    positional: Any = tyro.conf.Positional
    (marker,) = positional[Any].__metadata__
    for field in dataclasses.fields(kind):
        hint = get_type_hints(kind, include_extras=True)[field.name]
        if marker not in getattr(hint, "__metadata__", ()):
            continue
        name, several = field.name.upper(), get_origin(get_args(hint)[0]) is tuple
        needed = field.default is dataclasses.MISSING
        shown = f"{name} ..." if several else name
        kind.__annotations__[field.name] = Annotated[hint, tyro.conf.arg(metavar=shown if needed else f"[{shown}]")]


def unknown_name(what: str, name: str, known: Iterator[str] | Mapping[str, Any] | Sequence[str]) -> UsageError:
    """Return the error for a name that is not among `known`, with the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]}?" if near else ""
    return UsageError(f"unknown {what}: {name}", expected=f"one of {', '.join(names)}", hint=hint)


def read_plan(path: Path, kind: type[Any]) -> dict[str, Any]:
    """Read a plan file and return its settings by dotted name, checked against the settings dataclass `kind`."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise InputError(f"cannot read the plan {path}", got=str(problem.strerror)) from problem
    try:
        decoded = msgspec.toml.decode(data) if path.suffix == ".toml" else msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError) as problem:
        raise InputError(f"{path} is not {'TOML' if path.suffix == '.toml' else 'JSON'}", got=str(problem)) from problem
    if not isinstance(decoded, dict):
        raise InputError(f"{path} holds no settings", expected="a table of names and values")
    return dict(_checked(decoded, kind, path, ""))


def _checked(table: Mapping[str, Any], kind: type[Any], path: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    types = get_type_hints(kind)
    for name, value in table.items():
        if name not in types:
            raise unknown_name(f"setting in {path}", prefix + name, [prefix + known for known in types])
        if dataclasses.is_dataclass(types[name]) and isinstance(value, dict):
            nested: Any = types[name]
            yield from _checked(value, nested, path, f"{prefix}{name}.")
            continue
        try:
            yield prefix + name, msgspec.convert(value, types[name], dec_hook=_as_path)
        except msgspec.ValidationError as problem:
            raise UsageError(f"setting {prefix}{name} in {path} has the wrong type", got=str(problem)) from problem


def _as_path(kind: type[Any], value: Any) -> Any:
    if not (isinstance(value, str) and issubclass(kind, Path)):
        raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
    return kind(value)


def as_document(settings: Any) -> dict[str, Any]:
    """Return settings as plain JSON values (what plan.json holds)."""
    document: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(settings, enc_hook=str)
    )  # so that a tuple is a list, as read again
    return document


def as_flags(settings: Any, base: Any) -> list[str]:
    """Return the flags that turn the settings `base` into `settings`, as a person would type them."""
    before = dict(_leaves(base))
    words: list[str] = []
    for dotted, value in _leaves(settings):
        if value == before[dotted]:
            continue
        name = dotted.rsplit(".", 1)[-1].replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", str(value)]
    return words


def changeable(kind: type[Any], prefix: str = "") -> frozenset[str]:
    """Dotted names of the settings whose field says `metadata={"changeable": True}`: a resumed run may alter them."""
    names: set[str] = set()
    for field in dataclasses.fields(kind):
        nested: Any = get_type_hints(kind)[field.name]
        if dataclasses.is_dataclass(nested) and isinstance(nested, type):
            names |= changeable(nested, f"{prefix}{field.name}.")
        elif field.metadata.get("changeable"):
            names.add(prefix + field.name)
    return frozenset(names)


def completed(document: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    """A document of settings as it was written, with the defaults of those that `kind` has got since."""
    found, types = dict(document), get_type_hints(kind)
    for field in dataclasses.fields(kind):
        nested: Any = types[field.name]
        if dataclasses.is_dataclass(nested) and isinstance(nested, type):
            found[field.name] = completed(found.get(field.name, {}), nested)
        elif field.name not in found and field.default is not dataclasses.MISSING:
            found[field.name] = msgspec.to_builtins(field.default)
    return found


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List `name: old -> new` for every setting that differs between two plain documents."""
    before, after = dict(flat(old)), dict(flat(new))
    names = sorted(before.keys() | after.keys())
    return [f"{n}: {before.get(n)} -> {after.get(n)}" for n in names if before.get(n) != after.get(n)]


def flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of a nested plain document."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _named_flags(argv: Sequence[str]) -> set[str]:
    names = {token[2:].split("=", 1)[0].replace("-", "_") for token in argv if token.startswith("--")}
    return names | {name[3:] for name in names if name.startswith("no_")}


def _leaves(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _leaves(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def _overlay(values: dict[str, Any], sources: dict[str, str], upper: Mapping[str, Any], source: str) -> None:
    for name, value in upper.items():
        if values[name] != value or source.startswith("plan"):
            sources[name] = source
        values[name] = value


def _build(kind: type[Any], values: Mapping[str, Any], prefix: str = "") -> Any:
    types = get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        nested: Any = types[field.name]
        if dataclasses.is_dataclass(nested) and isinstance(nested, type):
            arguments[field.name] = _build(nested, values, f"{prefix}{field.name}.")
        else:
            arguments[field.name] = values[prefix + field.name]
    return kind(**arguments)
