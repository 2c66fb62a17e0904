"""The rules of the house: who imports whom, light commands, short files, complete packages."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("astro_io", "simulate", "astro_rcnn", "cluster_cnn")
HEAVY = ("tensorflow", "keras", "jax", "torch", "galsim", "imgaug", "cv2", "openvino", "dask")
PROGRAMS = ("astro_rcnn", "cluster_cnn", "simulate")
COMMANDS = [
    f"{program}.{verb}"
    for program in PROGRAMS
    for verb in importlib.import_module(f"{program}.__main__").VERBS
]
MODULES = sorted(
    path.relative_to(REPOSITORY)
    for package in PACKAGES
    for path in REPOSITORY.glob(f"{package}/**/*.py")
)


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "100"},
    )


HELP_CODE = f"""
import importlib, resource, sys
module, *arguments = sys.argv[1:]
try:
    code = importlib.import_module(module).main(arguments)
except SystemExit as stop:
    code = stop.code
used = resource.getrusage(resource.RUSAGE_SELF)
heavy = [name for name in {HEAVY} if name in sys.modules]
print(f"{{code or 0}} {{used.ru_utime + used.ru_stime:.2f}}", *heavy, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "command", [*COMMANDS, "astro_io.weights", *(f"{program}.__main__" for program in PROGRAMS)]
)
def test_help_is_quick_and_loads_nothing_heavy(command):
    """Processor time, so that a busy machine does not fail the test."""
    result = run_python(HELP_CODE, command, "--help")
    assert result.returncode == 0, result.stderr
    code, seconds, *heavy = result.stderr.splitlines()[-1].split()
    assert code == "0", result.stderr
    assert result.stdout.startswith("usage: ")
    assert heavy == []
    assert float(seconds) < 1.0


def test_the_commands_that_scripts_rely_on_are_there():
    assert {"astro_rcnn.detect", "astro_rcnn.train", "astro_rcnn.evaluate"} < set(COMMANDS)
    assert {"cluster_cnn.predict", "cluster_cnn.train", "cluster_cnn.evaluate"} < set(COMMANDS)
    assert {"simulate.fields", "simulate.clusters"} < set(COMMANDS)


def test_the_shared_layer_imports_quickly_and_alone():
    modules = [path.stem for path in MODULES if path.parts[0] == "astro_io"]
    code = f"""
import importlib, resource, sys
for name in {modules}:
    importlib.import_module("astro_io." + name)
used = resource.getrusage(resource.RUSAGE_SELF)
found = [name for name in {(*HEAVY, "simulate", "astro_rcnn", "matplotlib")} if name in sys.modules]
print(f"{{used.ru_utime + used.ru_stime:.2f}}", *found)
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    seconds, *found = result.stdout.split()
    assert found == []
    assert float(seconds) < 1.5


def test_import_contracts_hold():
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    program = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run(
        [program, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_files_and_functions_stay_short(path):
    text = (REPOSITORY / path).read_text()
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef):
            continue
        n_lines = node.end_lineno - node.lineno + 1
        if ast.get_docstring(node) is not None:
            n_lines -= node.body[0].end_lineno - node.body[0].lineno + 1
        assert n_lines <= 60, f"{node.name}: {n_lines} lines without its docstring"


def test_every_package_is_in_the_wheel():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    named = set(settings["tool"]["setuptools"]["packages"])
    inner = {
        ".".join(path.parent.relative_to(REPOSITORY).parts)
        for package in PACKAGES
        for path in REPOSITORY.glob(f"{package}/**/__init__.py")
    }
    assert named == {*inner, "astro_io._weights"}, "name every sub-package in pyproject.toml"
    assert set(PACKAGES) < inner


def test_licence_and_changelog_name_the_version():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert "MIT License" in (REPOSITORY / "LICENSE").read_text()
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    assert f"## {settings['version']}" in changelog or "## Unreleased" in changelog


@pytest.mark.network
def test_the_wheel_holds_weights_and_presets(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, REPOSITORY],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in REPOSITORY.glob("simulate/**/presets/*.toml"):
        assert str(path.relative_to(REPOSITORY)) in names
    assert "simulate/star_clusters/isochrones.npz" in names
    for path in REPOSITORY.glob("weights/*"):
        assert f"astro_io/_weights/{path.name}" in names
    assert not any(name.startswith("tests") for name in names)


def documented_commands() -> list[tuple[str, str]]:
    """Return (module, line) of every ``python -m`` line in README, CONTRIBUTING and configs."""
    found = []
    for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("configs/*.toml")]:
        for line in path.read_text().splitlines():
            match = re.match(r"[#\s]*python -m ((?:astro_|cluster_|simulate)[\w.]+) (.*)", line)
            if match:
                found.append((match[1], match[2]))
    return sorted(set(found))


@pytest.mark.parametrize(("module", "line"), documented_commands())
def test_documented_flags_exist(module, line):
    result = run_python(HELP_CODE, module, "--help")
    for flag in re.findall(r"(?<!\S)--[\w-]+", line):
        assert re.search(rf"{flag}\b", result.stdout), f"{module} has no {flag}"


def test_documented_files_exist():
    text = "\n".join(path.read_text() for path in REPOSITORY.glob("*.md"))
    for name in re.findall(r"\b(?:configs|examples|benchmarks)/[\w./]+\w", text):
        assert (REPOSITORY / name).exists(), name
