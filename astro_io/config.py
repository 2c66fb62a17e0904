"""TOML files and ``--set key=value`` into frozen dataclasses, and back.

A configuration is a frozen, keyword-only dataclass; nested ones are the sections of the file.
The dataclass is the single place for defaults, units and checks (``__post_init__`` raising
:class:`~astro_io.errors.ConfigError`).  Precedence: dataclass, file, ``--set``.

A class may carry ``SCHEMA_VERSION: ClassVar[int]`` and ``MIGRATIONS: ClassVar[dict]``, which
maps a version to the function that brings a file of it to the next (:func:`rename_key`).
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from astro_io.errors import ConfigError, InputNotFoundError

Config = TypeVar("Config")
Migration = Callable[[dict[str, Any]], dict[str, Any]]

_NUMBERS: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
}


def load_config(
    cls: type[Config], path: str | Path | None, overrides: Sequence[str] = ()
) -> Config:
    """Build a configuration from a TOML file and command-line overrides.

    Parameters
    ----------
    cls : type
        A dataclass.
    path : str, Path or None
        A TOML file; None for the defaults.  ``extends = "other.toml"`` at its top reads that file
        first (its path is relative to the file that names it).
    overrides : sequence of str
        Items ``"train.epochs=3"``.  The value is read as TOML; what is not TOML is plain text,
        and plain text with commas fills a list: ``"bands=g,r,z"``.

    Returns
    -------
    Config
        An instance of `cls`.

    Raises
    ------
    InputNotFoundError
        If the file, or one that it extends, does not exist.
    ConfigError
        If the TOML is malformed, a key is unknown, or a value has the wrong type or range.
    """
    values: dict[str, Any] = {}
    where = "defaults"
    if path is not None:
        values = _read_file(Path(path), _migrations(cls), seen=())
        where = Path(path).name
    return _build_overridden(cls, values, overrides, where)


def config_from_dict(cls: type[Config], values: Mapping[str, Any], *, where: str) -> Config:
    """Build a configuration from nested plain values, with the same checks as `load_config`.

    Parameters
    ----------
    cls : type
        A dataclass.
    values : mapping
    where : str
        What messages begin with, for example ``"registry.toml [coco]"``.

    Returns
    -------
    Config
        An instance of `cls`.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, or a value has the wrong type or range.
    """
    return _build(cls, values, _Place(where, (), {}))


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """Return a copy of a configuration with settings changed; all as of `load_config`.

    Raises
    ------
    ConfigError
        If a key is unknown, or a value has the wrong type or range.
    """
    return _build_overridden(type(config), config_to_dict(config), overrides, "settings")


def dump_config(config: Any) -> str:
    """Return a configuration as TOML text that `load_config` reads back.

    Parameters
    ----------
    config : dataclass instance

    Returns
    -------
    str
        ``schema_version`` first; fields that are None are left out.
    """
    import tomli_w

    version = getattr(type(config), "SCHEMA_VERSION", 1)
    return tomli_w.dumps({"schema_version": version, **config_to_dict(config)})


def config_to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as nested plain values (str, int, float, bool, list, dict).

    Raises
    ------
    TypeError
        If a field is None although its default is not: a file could not say so.
    """
    values = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if value is not None:
            values[item.name] = _plain(value)
        elif item.default is not None:
            raise TypeError(f"{type(config).__name__}.{item.name} is None, which TOML cannot say")
    return values


def rename_key(old: str, new: str) -> Migration:
    """Return a migration that moves one dotted key.

    Parameters
    ----------
    old, new : str
        For example ``"train.learn_rate"`` and ``"train.learning_rate"``.

    Returns
    -------
    callable
        From the values of a file to new values; files without the key stay as they are.
    """

    def migrate(values: dict[str, Any]) -> dict[str, Any]:
        *parents, last = old.split(".")
        copy = _deep_copy(values)
        section: Any = copy
        for key in parents:
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and last in section:
            _set_dotted(copy, new, section.pop(last))
        return copy

    return migrate


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a value stands: file, section, and which keys came from the command line."""

    file: str
    section: tuple[str, ...]
    origins: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.file} [{'.'.join(self.section)}]" if self.section else self.file

    def inside(self, key: str) -> _Place:
        return dataclasses.replace(self, section=(*self.section, key))

    def of(self, key: str) -> str:
        """Return the text that a message about `key` begins with."""
        return self.origins.get(".".join((*self.section, key)), str(self))


@dataclasses.dataclass(frozen=True)
class _Override:
    """A value from the command line, as TOML reads it and as it was typed."""

    value: Any
    text: str


def _migrations(cls: type) -> tuple[int, Mapping[int, Migration]]:
    return getattr(cls, "SCHEMA_VERSION", 1), getattr(cls, "MIGRATIONS", {})


def _read_file(
    path: Path, migrations: tuple[int, Mapping[int, Migration]], seen: tuple[Path, ...]
) -> dict[str, Any]:
    """Read one file, bring it up to date, and lay it over the file that it extends."""
    if path.resolve() in seen:
        raise ConfigError(f"{path.name}: extends itself through {seen[-1].name}. Break the loop.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        named_by = f" (extended by {seen[-1].name})" if seen else ""
        raise InputNotFoundError(f"{path}: no such configuration file{named_by}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: not valid TOML: {error}.") from error
    parent = values.pop("extends", None)
    values = _migrate(values, path.name, *migrations)
    if parent is None:
        return values
    if not isinstance(parent, str):
        raise ConfigError(f"{path.name}: expected extends as a path, found {parent!r}.")
    base = _read_file(path.parent / parent, migrations, (*seen, path.resolve()))
    return _merge(base, values)


def _migrate(
    values: dict[str, Any], name: str, current: int, migrations: Mapping[int, Migration]
) -> dict[str, Any]:
    """Bring the values of a file from its schema version to the current one."""
    version = values.pop("schema_version", current)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError(f"{name}: expected schema_version as a whole number, found {version!r}.")
    if version > current:
        raise ConfigError(
            f"{name}: written for schema_version {version}, this program reads {current}. "
            "Upgrade the program."
        )
    for step in range(version, current):
        if step not in migrations:
            raise ConfigError(
                f"{name}: schema_version {version} is too old; expected {current}. "
                "Write the file anew."
            )
        values = migrations[step](values)
    return values


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `over` laid on top, section by section."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _build_overridden(
    cls: type[Config], values: dict[str, Any], overrides: Sequence[str], where: str
) -> Config:
    origins: dict[str, str] = {}
    for item in overrides:
        _apply_override(values, item, origins)
    return _build(cls, values, _Place(where, (), origins))


def _apply_override(values: dict[str, Any], item: str, origins: dict[str, str]) -> None:
    """Lay one ``section.key=value`` over the values of the file."""
    key, separator, text = item.partition("=")
    key, text = key.strip(), text.strip()
    if not separator or not all(part.isidentifier() for part in key.split(".")):
        raise ConfigError(f"--set {item}: expected section.key=value, for example train.epochs=3.")
    try:
        value = tomllib.loads(f"value = {text}")["value"] if text else ""
    except tomllib.TOMLDecodeError:
        value = text
    _set_dotted(values, key, _Override(value, text))
    origins[key] = f"--set {item}"


def _set_dotted(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key of nested dictionaries, making sections on the way."""
    *parents, last = key.split(".")
    for parent in parents:
        section = values.get(parent)
        values[parent] = section if isinstance(section, dict) else {}
        values = values[parent]
    values[last] = value


def _build(cls: type[Config], values: Mapping[str, Any], place: _Place) -> Config:
    """Turn the values of one section into its dataclass."""
    hints = typing.get_type_hints(cls)
    fields = {item.name: item for item in dataclasses.fields(cls) if item.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(_unknown_key(key, cls, place))
    arguments = {key: _convert(value, hints[key], place, key) for key, value in values.items()}
    for name, item in fields.items():
        optional = (
            item.default is not dataclasses.MISSING
            or item.default_factory is not dataclasses.MISSING
        )
        if name not in arguments and not optional:
            if not dataclasses.is_dataclass(hints[name]):
                raise ConfigError(f"{place}: key '{name}' is missing. Add it.")
            arguments[name] = _build(hints[name], {}, place.inside(name))
    try:
        return cls(**arguments)
    except ConfigError as error:
        raise ConfigError(_with_place(str(error), arguments, place)) from error


def _with_place(message: str, keys: Iterable[str], place: _Place) -> str:
    """Say where the value that failed a check came from."""
    blamed = [place.of(key) for key in keys if key in message.replace("'", " ").split()]
    from_command_line = [text for text in blamed if text.startswith("--set")]
    where = from_command_line[0] if from_command_line else str(place)
    return message if message.startswith(where) else f"{where}: {message}"


def _unknown_key(key: str, cls: type, place: _Place) -> str:
    """Return the message for a key that the section does not have."""
    names = [item.name for item in dataclasses.fields(cls)]
    message = f"{_origin_of_section(key, place)}: unknown key '{key}'"
    close = difflib.get_close_matches(key, names, n=1)
    if close:
        return f"{message}; did you mean '{close[0]}'?"
    hints = typing.get_type_hints(cls)
    for name in names:
        inner = hints[name]
        if dataclasses.is_dataclass(inner) and key in {f.name for f in dataclasses.fields(inner)}:
            return f"{message}; did you mean '{key}' in [{'.'.join((*place.section, name))}]?"
    return f"{message}; expected one of {', '.join(names)}."


def _origin_of_section(key: str, place: _Place) -> str:
    """Return where `key`, or something below it, came from."""
    dotted = ".".join((*place.section, key))
    for name, origin in place.origins.items():
        if name == dotted or name.startswith(f"{dotted}."):
            return origin
    return str(place)


def _convert(value: Any, kind: Any, place: _Place, key: str) -> Any:
    """Turn one TOML value into what the annotation asks for."""
    if isinstance(value, _Override):
        return _convert_override(value, kind, place, key)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise _mismatch(place, key, f"a section [{key}]", value)
        return _build(kind, value, place.inside(key))
    origin = typing.get_origin(kind)
    if kind is Any or kind is object:
        return value
    if origin is Literal:
        return _convert_choice(value, typing.get_args(kind), place, key)
    if origin in (Union, types.UnionType):
        return _convert_union(value, kind, place, key)
    if (origin or kind) in (tuple, list) or origin is Sequence:
        return _convert_list(value, kind, place, key)
    if (origin or kind) in (dict, Mapping):
        return _convert_dict(value, kind, place, key)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(_convert_choice(value, tuple(e.value for e in kind), place, key))
    return _convert_scalar(value, kind, place, key)


def _convert_override(item: _Override, kind: Any, place: _Place, key: str) -> Any:
    """Turn what was typed after ``--set`` into what the annotation asks for."""
    options = typing.get_args(kind) if _is_union(kind) else (kind,)
    if (str in options or Path in options) and not isinstance(item.value, str):
        plain_kinds = tuple(k for k in options if k in (int, float, bool))
        if not (plain_kinds and isinstance(item.value, plain_kinds)):
            return _convert(item.text, kind, place, key)
    listed = any((typing.get_origin(k) or k) in (tuple, list) for k in options)
    if listed and not isinstance(item.value, list):
        words = [word.strip() for word in item.text.split(",") if word.strip()]
        return _convert([_toml_or_text(word) for word in words], kind, place, key)
    return _convert(item.value, kind, place, key)


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (Union, types.UnionType)


def _toml_or_text(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _convert_choice(value: Any, choices: tuple[Any, ...], place: _Place, key: str) -> Any:
    """Accept one of a few values."""
    for choice in choices:
        if value == choice and type(value) is type(choice):
            return choice
    names = [str(choice) for choice in choices]
    close = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise ConfigError(
        f"{place.of(key)}: expected {key} as one of {', '.join(names)}; found {value!r}.{hint}"
    )


def _convert_union(value: Any, kind: Any, place: _Place, key: str) -> Any:
    """Accept the first member of a union that fits."""
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    if len(options) == 1:
        return _convert(value, options[0], place, key)
    for option in options:
        try:
            return _convert(value, option, place, key)
        except ConfigError:
            continue
    raise _mismatch(place, key, " or ".join(_describe(option) for option in options), value)


def _convert_list(value: Any, kind: Any, place: _Place, key: str) -> Any:
    """Accept a list; tuples of fixed length must have it."""
    container = list if (typing.get_origin(kind) or kind) is list else tuple
    arguments = typing.get_args(kind)
    if not isinstance(value, list | tuple):
        raise _mismatch(place, key, "a list", value)
    fixed = container is tuple and arguments and arguments[-1] is not Ellipsis
    if fixed and typing.get_origin(kind) is tuple:
        if len(value) != len(arguments):
            raise _mismatch(place, key, f"{len(arguments)} values", value)
        return tuple(
            _convert(item, inner, place, key) for item, inner in zip(value, arguments, strict=True)
        )
    inner = arguments[0] if arguments else Any
    return container(_convert(item, inner, place, key) for item in value)


def _convert_dict(value: Any, kind: Any, place: _Place, key: str) -> dict[str, Any]:
    """Accept a section with free keys."""
    if not isinstance(value, Mapping):
        raise _mismatch(place, key, f"a section [{key}]", value)
    arguments = typing.get_args(kind)
    inner = arguments[1] if arguments else Any
    inside = place.inside(key)
    return {name: _convert(item, inner, inside, name) for name, item in value.items()}


def _convert_scalar(value: Any, kind: Any, place: _Place, key: str) -> Any:
    """Accept a number, text, truth value or path; a whole number is a number too."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) and kind is not bool:
        raise _mismatch(place, key, _describe(kind), value)
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    raise _mismatch(place, key, _describe(kind), value)


def _describe(kind: Any) -> str:
    """Return an annotation in words."""
    container = typing.get_origin(kind) or kind
    if dataclasses.is_dataclass(kind) or container in (dict, Mapping):
        return "a section"
    if container in (tuple, list, Sequence):
        return "a list"
    return _NUMBERS.get(kind, str(getattr(kind, "__name__", kind)))


def _mismatch(place: _Place, key: str, expected: str, found: Any) -> ConfigError:
    shown = "a section" if isinstance(found, Mapping) else repr(found)
    return ConfigError(f"{place.of(key)}: expected {key} as {expected}, found {shown}.")


def _plain(value: Any) -> Any:
    """Return a value as TOML knows it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return config_to_dict(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _deep_copy(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _deep_copy(value) if isinstance(value, dict) else value
        for key, value in values.items()
    }
