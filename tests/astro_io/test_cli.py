"""What all commands share."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest

from astro_io import cli
from astro_io.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _restore_logging():
    yield
    logging.captureWarnings(False)
    logging.getLogger("py.warnings").handlers = []
    for package in cli._PACKAGES:
        logging.getLogger(package).handlers = []
        logging.getLogger(package).setLevel(logging.NOTSET)
    cli._Session.show_progress = False


def parse(words, **options):
    parser = cli.new_parser("astro_rcnn.detect", "Detect sources.")
    cli.add_common_arguments(parser, **options)
    return parser.parse_args(words)


def test_common_flags_have_the_same_words_everywhere():
    args = parse(
        ["--output", "out", "--overwrite", "--seed", "3", "--verbose", "--debug", "--dry-run"],
        dry_run=True,
    )
    assert (str(args.output), args.overwrite, args.seed) == ("out", True, 3)
    assert (args.verbose, args.quiet, args.debug, args.dry_run) == (True, False, True, True)


def test_output_is_required_unless_the_command_has_none(capsys):
    with pytest.raises(SystemExit) as stop:
        parse([])
    assert stop.value.code == 2
    assert "required: --output" in capsys.readouterr().err
    assert not hasattr(parse([], output=None), "output")


def test_quiet_and_verbose_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        parse(["-o", "x", "-q", "-v"])
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1)])
def test_run_returns_what_the_command_returns(result, code):
    assert cli.run(lambda argv: result, []) == code


def test_run_hands_the_arguments_on(monkeypatch):
    seen = []
    cli.run(seen.append, ["a", "b"])
    monkeypatch.setattr(sys, "argv", ["prog", "c"])
    cli.run(seen.append)
    assert seen == [["a", "b"], ["c"]]


def failing(error):
    def main(argv):
        raise error

    return main


def test_user_mistake_is_one_line_on_stderr_and_exit_code_2(capsys):
    assert cli.run(failing(ConfigError("run.toml:\n  unknown key 'x'")), []) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: run.toml: unknown key 'x'\n"
    assert captured.out == ""


def test_failing_disk_is_one_line_too(capsys):
    assert cli.run(failing(OSError(28, "No space left on device", "out/a.fits")), []) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_debug_shows_the_trace(capsys):
    assert cli.run(failing(ConfigError("bad")), ["--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_programmer_mistake_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda argv: 1 // 0, [])


def test_control_c_is_130(capsys):
    assert cli.run(failing(KeyboardInterrupt()), []) == 130
    assert "run the same line again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, "told\nwarned\n"),
        ({"quiet": True}, "warned\n"),
        ({"verbose": True}, "DEBUG: detail\nINFO: told\nWARNING: warned\n"),
    ],
)
def test_log_goes_to_stderr_as_loud_as_asked(capsys, flags, expected):
    cli.configure_logging(argparse.Namespace(**flags))
    cli.configure_logging(argparse.Namespace(**flags))  # twice must not double the lines
    log = logging.getLogger("astro_rcnn.survey")
    log.debug("detail")
    log.info("told")
    log.warning("warned")
    captured = capsys.readouterr()
    assert captured.err == expected and captured.out == ""


def test_warnings_become_log_lines(capsys):
    cli.configure_logging(argparse.Namespace())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning(UserWarning("careful"), UserWarning, "file.py", 3)
    assert "careful" in capsys.readouterr().err


def test_progress_yields_everything_and_writes_to_stderr_only(capsys):
    cli.configure_logging(argparse.Namespace())
    assert list(cli.progress([1, 2, 3], description="tiles", unit="tile")) == [1, 2, 3]
    captured = capsys.readouterr()
    assert "tiles" in captured.err and "3/3" in captured.err and captured.out == ""


def test_progress_is_silent_under_quiet_and_in_libraries(capsys):
    assert list(cli.progress(iter("ab"))) == ["a", "b"]
    cli.configure_logging(argparse.Namespace(quiet=True))
    assert list(cli.progress(iter("ab"))) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_summary_is_one_line_on_stdout(capsys):
    cli.summary("73 sources in 1 image -> out")
    assert capsys.readouterr() == ("73 sources in 1 image -> out\n", "")


@pytest.fixture
def package(monkeypatch):
    def main(argv):
        parser = cli.new_parser("fake_pkg.do_it", "Do it.")
        parser.add_argument("--n", type=int)
        return parser.parse_args(argv).n

    module = types.ModuleType("fake_pkg.do_it")
    module.main = main
    monkeypatch.setitem(sys.modules, "fake_pkg", types.ModuleType("fake_pkg"))
    monkeypatch.setitem(sys.modules, "fake_pkg.do_it", module)
    return "fake_pkg"


def test_dispatch_runs_the_verb_and_returns_its_code(package):
    assert cli.dispatch(package, {"do_it": "does it"}, ["do-it", "--n", "1"]) == 1
    assert cli.dispatch(package, ["do_it"], ["do_it", "--n", "0"]) == 0


def test_dispatched_help_shows_the_console_name(package, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.dispatch(package, ["do_it"], ["do_it", "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: fake-pkg do_it [-h]")
    assert cli.new_parser("a.b", "").prog == "python -m a.b"


def test_dispatch_lists_verbs_and_corrects_typing(package, capsys):
    assert cli.dispatch(package, {"do_it": "does it"}, ["--help"]) == 0
    assert "  do_it  does it" in capsys.readouterr().out
    assert cli.dispatch(package, ["do_it"], ["do_i"]) == 2
    assert "unknown command 'do_i'; did you mean 'do_it'?" in capsys.readouterr().err
    assert cli.dispatch(package, ["do_it"], ["qq"]) == 2
    assert "unknown command 'qq'; expected do_it." in capsys.readouterr().err
    assert cli.dispatch(package, ["do_it"], []) == 2


def test_dispatch_tells_the_version(capsys):
    assert cli.dispatch("numpy", [], ["--version"]) == 0
    assert capsys.readouterr().out.startswith("numpy 2.")


def test_importing_the_command_line_loads_nothing_heavy():
    code = (
        "import sys, astro_io.cli, astro_io.config\n"
        "heavy = {'numpy', 'astropy', 'h5py', 'tqdm', 'keras', 'scipy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
