"""What all commands share: flags, logging, progress, exit codes, the console dispatcher.

Exit codes: 0 done, 1 some inputs failed, 2 bad request, 130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from astro_io.errors import AstroError, ConfigError

Item = TypeVar("Item")

DONE, SOME_FAILED, BAD_REQUEST, INTERRUPTED = 0, 1, 2, 130

_PACKAGES = ("astro_io", "astro_rcnn", "cluster_cnn", "simulate")
_SECONDS_BETWEEN_LINES = 10.0  # of a progress bar that goes to a file


class _Session:
    """What `configure_logging` and `dispatch` have set for this process."""

    show_progress = False
    program: str | None = None


def new_parser(module: str, description: str, **options: Any) -> argparse.ArgumentParser:
    """Return a parser whose usage line names the command as it was called.

    Parameters
    ----------
    module : str
        For example ``"astro_rcnn.detect"``.
    description : str
        Shown by ``--help``.
    **options
        Passed on to `argparse.ArgumentParser`.

    Returns
    -------
    argparse.ArgumentParser
    """
    options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
    program = _Session.program or f"python -m {module}"
    return argparse.ArgumentParser(prog=program, description=description, **options)


def add_common_arguments(
    parser: argparse.ArgumentParser,
    *,
    output: str | None = "folder for the results",
    seed: int | None = 0,
    dry_run: bool = False,
) -> None:
    """Add the flags that all commands share.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    output : str or None
        What ``--output`` is for; None leaves ``--output`` and ``--overwrite`` out.
    seed : int or None
        Default of ``--seed``.
    dry_run : bool
        Add ``--dry-run``.
    """
    group = parser.add_argument_group("common options")
    if output is not None:
        group.add_argument("--output", "-o", type=Path, required=True, help=output)
        group.add_argument("--overwrite", action="store_true", help="replace what is there")
    seed_help = "start of all random numbers" + ("" if seed is None else f" (default {seed})")
    group.add_argument("--seed", type=int, default=seed, metavar="N", help=seed_help)
    if dry_run:
        group.add_argument("--dry-run", action="store_true", help="check everything, do nothing")
    volume = group.add_mutually_exclusive_group()
    volume.add_argument("--quiet", "-q", action="store_true", help="warnings and errors only")
    volume.add_argument("--verbose", "-v", action="store_true", help="say more")
    group.add_argument("--debug", action="store_true", help="show the full trace of an error")


def check_fractions(args: argparse.Namespace, *names: str) -> None:
    """Refuse flags that should lie between 0 and 1 and do not.

    Parameters
    ----------
    args : argparse.Namespace
    *names : str
        Attributes of it; None counts as not given.

    Raises
    ------
    ConfigError
        With the flag and what was given.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and not 0.0 <= value <= 1.0:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag}: expected 0 to 1; found {value}.")


def check_at_least(args: argparse.Namespace, **least: float) -> None:
    """Refuse flags that are too small.

    Parameters
    ----------
    args : argparse.Namespace
    **least : float
        The smallest value of each attribute; None counts as not given.

    Raises
    ------
    ConfigError
        With the flag and what was given.
    """
    for name, smallest in least.items():
        value = getattr(args, name)
        if value is not None and value < smallest:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag}: expected at least {smallest}; found {value}.")


def configure_logging(args: argparse.Namespace) -> None:
    """Send the log of our packages to stderr, as loud as the flags say.

    Parameters
    ----------
    args : argparse.Namespace
        With ``quiet`` and ``verbose``; missing ones count as False.
    """
    quiet, verbose = getattr(args, "quiet", False), getattr(args, "verbose", False)
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    handler = _LogHandler()
    handler.setFormatter(
        logging.Formatter("%(levelname)s: %(message)s" if verbose else "%(message)s")
    )
    for package in _PACKAGES:
        logger = logging.getLogger(package)
        logger.handlers = [h for h in logger.handlers if not isinstance(h, _LogHandler)]
        logger.addHandler(handler)
        logger.setLevel(level)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").handlers = [handler]
    _Session.show_progress = not quiet


class _LogHandler(logging.Handler):
    """Write to the stderr of the moment, without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        line = self.format(record)
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)


def run(
    main_function: Callable[[Sequence[str] | None], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """Call the body of a command and turn errors into one line and an exit code.

    Parameters
    ----------
    main_function : callable
        Takes the arguments; returns an exit code, or None for 0.
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0, 1 or 2 as above; 130 after control-C.

    Raises
    ------
    AstroError, OSError
        With ``--debug`` among the arguments, after printing the trace is left to Python.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return main_function(arguments) or DONE
    except KeyboardInterrupt:
        print("interrupted; run the same line again to go on", file=sys.stderr)
        return INTERRUPTED
    except (AstroError, OSError) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return BAD_REQUEST


def _one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def summary(text: str) -> None:
    """Print the one line of result on stdout."""
    print(text, flush=True)


def shows_progress() -> bool:
    """Return whether progress bars are wanted: in commands, unless ``--quiet``."""
    return _Session.show_progress


def progress(
    items: Iterable[Item],
    *,
    description: str = "",
    total: int | None = None,
    unit: str = "it",
    leave: bool = True,
) -> Iterator[Item]:
    """Go through `items` with a bar on stderr; without one under ``--quiet``.

    Parameters
    ----------
    items : iterable
    description : str
        Stands before the bar.
    total : int, optional
        Number of items where `items` does not know its length.
    unit : str
        For example ``"tile"``.
    leave : bool
        Let the full bar stand at the end.

    Yields
    ------
    item
        Each of `items`.
    """
    if not _Session.show_progress:
        yield from items
        return
    from tqdm import tqdm

    to_terminal = sys.stderr.isatty()
    yield from tqdm(
        items,
        desc=description or None,
        total=total,
        unit=unit,
        leave=leave,
        file=sys.stderr,
        dynamic_ncols=to_terminal,
        mininterval=0.1 if to_terminal else _SECONDS_BETWEEN_LINES,
    )


def dispatch(
    package: str,
    verbs: Mapping[str, str] | Sequence[str],
    argv: Sequence[str] | None = None,
) -> int:
    """Run one verb of a package: ``astro-rcnn detect ...`` is ``python -m astro_rcnn.detect ...``.

    Parameters
    ----------
    package : str
        For example ``"astro_rcnn"``.
    verbs : mapping of str to str, or sequence of str
        Module names inside the package, each with ``main(argv) -> int``; with what they do.
    argv : sequence of str, optional
        By default the arguments of the process.

    Returns
    -------
    int
        Exit code of the verb; 2 for an unknown verb.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    described = dict(verbs) if isinstance(verbs, Mapping) else dict.fromkeys(verbs, "")
    program = package.replace("_", "-")
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage(program, described))
        return DONE if arguments else BAD_REQUEST
    if arguments[0] == "--version":
        print(f"{program} {_version(package)}")
        return DONE
    verb = arguments[0].replace("-", "_")
    if verb not in described:
        close = difflib.get_close_matches(verb, described, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"expected {', '.join(described)}."
        print(f"error: {program}: unknown command '{arguments[0]}'; {hint}", file=sys.stderr)
        return BAD_REQUEST
    with _called_as(f"{program} {arguments[0]}"):
        module = importlib.import_module(f"{package}.{verb}")
        return int(module.main(arguments[1:]))


@contextmanager
def _called_as(program: str) -> Iterator[None]:
    """Have `new_parser` show this name for a while."""
    _Session.program = program
    try:
        yield
    finally:
        _Session.program = None


def _usage(program: str, verbs: Mapping[str, str]) -> str:
    width = max(map(len, verbs), default=0)
    lines = [f"  {verb:<{width}}  {what}".rstrip() for verb, what in verbs.items()]
    return "\n".join(
        [f"usage: {program} COMMAND ...", "", "commands:", *lines]
        + ["", f"{program} COMMAND --help tells more."]
    )


def _version(package: str) -> str:
    """Return the version of the distribution that holds a package."""
    from importlib import metadata

    names = metadata.packages_distributions().get(package, [])
    return metadata.version(names[0]) if names else "(not installed)"
