"""Read the data in a pickle without running it.

A pickle is a program: unpickling imports what it names and calls it.  Here the program is only
looked at.  The few instructions that build plain data are followed; a class or function that the
pickle names stays a `Name`, and a call of it stays a `Call` with its arguments: nothing is
imported, nothing is called, no attribute is set.  Every other instruction is refused.

`pickletools.genops` of the standard library takes the byte code apart.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from astro_io.errors import WeightsError

MAX_INSTRUCTIONS = 1_000_000
"""Longer pickles are refused; those of torchvision's networks have a few thousand."""


@dataclass(frozen=True)
class Name:
    """What a pickle would import: ``module.name``."""

    module: str
    name: str

    def __str__(self) -> str:
        """Return the dotted name."""
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Call:
    """What a pickle would call, and the items that it would then set in the result."""

    function: Any
    arguments: tuple[Any, ...]
    items: dict[Any, Any]
    state: Any = None


@dataclass(frozen=True, eq=False)
class Reference:
    """What a pickle asks its reader for (a persistent id)."""

    key: Any


_MARK = object()


class _Machine:
    """The stack and the memory of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def to_mark(self) -> list[Any]:
        """Take everything above the last mark off the stack, and the mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                taken = self.stack[place + 1 :]
                del self.stack[place:]
                return taken
        raise ValueError("no mark on the stack")

    def take(self, n: int) -> tuple[Any, ...]:
        if len(self.stack) < n:
            raise ValueError("the stack is empty")
        taken = tuple(self.stack[len(self.stack) - n :])
        del self.stack[len(self.stack) - n :]
        return taken


def _set_items(machine: _Machine, pairs: list[Any]) -> None:
    target = machine.stack[-1]
    table = target.items if isinstance(target, Call) else target
    if type(table) is not dict or len(pairs) % 2:
        raise ValueError("items set in something that is no dictionary")
    if any(type(key) not in (str, int) for key in pairs[::2]):
        raise ValueError("a key that is neither text nor a number")
    table.update(zip(pairs[::2], pairs[1::2], strict=True))


def _append(machine: _Machine, values: list[Any]) -> None:
    if type(machine.stack[-1]) is not list:
        raise ValueError("items appended to something that is no list")
    machine.stack[-1].extend(values)


def _call(machine: _Machine) -> None:
    function, arguments = machine.take(2)
    if type(function) is not Name or type(arguments) is not tuple:
        raise ValueError("a call of something that is no name")
    machine.push(Call(function, arguments, {}))


def _keep_state(machine: _Machine) -> None:
    """Keep aside the state that a pickle gives to an object; it is not set."""
    (state,) = machine.take(1)
    if not isinstance(machine.stack[-1], Call):
        raise ValueError("state given to something that is no call")
    machine.stack[-1].state = state


def _stack_name(machine: _Machine) -> None:
    module, name = machine.take(2)
    if type(module) is not str or type(name) is not str:
        raise ValueError("a name that is no text")
    machine.push(Name(module, name))


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "MARK": lambda: _MARK,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}

_LITERALS = frozenset(
    ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE")
)

_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "GLOBAL": lambda m, a: m.push(Name(*a.split(" ", 1))),
    "STACK_GLOBAL": lambda m, a: _stack_name(m),
    "REDUCE": lambda m, a: _call(m),
    "BUILD": lambda m, a: _keep_state(m),
    "BINPERSID": lambda m, a: m.push(Reference(m.take(1)[0])),
    "TUPLE": lambda m, a: m.push(tuple(m.to_mark())),
    "TUPLE1": lambda m, a: m.push(m.take(1)),
    "TUPLE2": lambda m, a: m.push(m.take(2)),
    "TUPLE3": lambda m, a: m.push(m.take(3)),
    "SETITEM": lambda m, a: _set_items(m, list(m.take(2))),
    "SETITEMS": lambda m, a: _set_items(m, m.to_mark()),
    "APPEND": lambda m, a: _append(m, list(m.take(1))),
    "APPENDS": lambda m, a: _append(m, m.to_mark()),
    "BINPUT": lambda m, a: m.memory.__setitem__(a, m.stack[-1]),
    "LONG_BINPUT": lambda m, a: m.memory.__setitem__(a, m.stack[-1]),
    "MEMOIZE": lambda m, a: m.memory.__setitem__(len(m.memory), m.stack[-1]),
    "BINGET": lambda m, a: m.push(m.memory[a]),
    "LONG_BINGET": lambda m, a: m.push(m.memory[a]),
}


def read_pickled_data(stream: IO[bytes], *, where: str) -> Any:
    """Read one pickle as data; the stream is left behind its end.

    Parameters
    ----------
    stream : binary file
    where : str
        Name of the file for messages.

    Returns
    -------
    object
        Numbers, text, tuples, lists and dictionaries, with `Name`, `Call` and `Reference` where
        the pickle asks for more.

    Raises
    ------
    WeightsError
        If the pickle is damaged, too long, or needs an instruction that is not on the list.
    """
    machine = _Machine()
    count = 0
    try:
        for operation, argument, _ in pickletools.genops(stream):
            count += 1
            name = operation.name
            if name == "STOP":
                (result,) = machine.take(1)
                return result
            if count > MAX_INSTRUCTIONS:
                raise ValueError(f"more than {MAX_INSTRUCTIONS} instructions")
            if name in _CONSTANTS:
                machine.push(_CONSTANTS[name]())
            elif name in _LITERALS:
                machine.push(argument)
            elif name in _ACTIONS:
                _ACTIONS[name](machine, argument)
            else:
                raise ValueError(f"instruction {name} is not allowed")
    except (ValueError, KeyError, IndexError, TypeError, EOFError) as error:
        raise WeightsError(
            f"{where}: expected the pickle of a table of tensors; found something else ({error}). "
            "Nothing in it was run. Fetch the published file again, or use its safetensors form."
        ) from error
    raise WeightsError(f"{where}: the pickle has no end. Fetch the file again.")
