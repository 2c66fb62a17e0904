"""Run PhoSim: one process an instance catalogue, results put in place in one step.

PhoSim deletes the trimmed catalogues that the truth is made from while it runs. A hard link keeps
them: the work folder is watched for as long as the process lives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from astro_io.errors import AstroError, InputNotFoundError
from simulate.phosim_files import trimmed_chip

_WATCH_S = 0.05


class PhoSimError(AstroError, RuntimeError):
    """A run of PhoSim failed; its log is named."""


@dataclass(frozen=True, kw_only=True)
class Installation:
    """An installed PhoSim.

    Attributes
    ----------
    executable : Path
        The script ``phosim``.
    instrument : str
    threads : int
        Of each process.
    """

    executable: Path
    instrument: str
    threads: int = 1

    def run(
        self,
        folder: Path,
        *,
        catalog: str,
        commands: tuple[str, ...],
        observation_id: int,
        chip: str | None = None,
    ) -> None:
        """Run PhoSim; afterwards `folder` holds its images, trimmed catalogues and log.

        A folder that is there is a run that ended well: nothing is done.

        Parameters
        ----------
        folder : Path
            Made by this run, in one step at its end.
        catalog : str
            Text of the instance catalogue.
        commands : tuple of str
        observation_id : int
            Of the catalogue.
        chip : str, optional
            Simulate this chip alone.

        Raises
        ------
        PhoSimError
            If PhoSim cannot be started or reports an error.
        """
        if folder.is_dir():
            return
        part = folder.with_name(f".part-{folder.name}")
        shutil.rmtree(part, ignore_errors=True)
        for name in ("output", "work", "trimmed"):
            (part / name).mkdir(parents=True)
        (part / "catalog.txt").write_text(catalog)
        (part / "commands.txt").write_text("".join(f"{line}\n" for line in commands))
        try:
            self._call(part, observation_id, chip)
        except BaseException:
            shutil.rmtree(part / "work", ignore_errors=True)
            raise
        shutil.rmtree(part / "work", ignore_errors=True)
        os.replace(part, folder)

    def _call(self, part: Path, observation_id: int, chip: str | None) -> None:
        """Start PhoSim and watch its work folder until it ends."""
        line = [str(self.executable), "catalog.txt", "-c", "commands.txt", "-i", self.instrument]
        line[1], line[3] = str(part / "catalog.txt"), str(part / "commands.txt")
        line += ["-t", str(self.threads), "-e", "0", "-o", str(part / "output")]
        line += ["-w", str(part / "work")] + (["-s", chip] if chip else [])
        log = part / "log.txt"
        with log.open("wb") as stream:
            try:
                process = subprocess.Popen(
                    line, cwd=self.executable.parent, stdout=stream, stderr=subprocess.STDOUT
                )
            except OSError as error:
                raise PhoSimError(f"{self.executable}: cannot be started ({error}).") from error
            try:
                while process.poll() is None:
                    _keep_trimmed(part, observation_id)
                    time.sleep(_WATCH_S)
            except BaseException:
                process.terminate()
                process.wait()
                raise
        _keep_trimmed(part, observation_id)
        if process.returncode != 0:
            raise PhoSimError(
                f"{self.executable.name} ended with {process.returncode}: {_last_line(log)} "
                f"(log: {log})."
            )


def find_phosim(path: Path, *, instrument: str, threads: int) -> Installation:
    """Return the installation at a path: the script itself, or the folder that holds it.

    Raises
    ------
    InputNotFoundError
        If there is no executable ``phosim``.
    """
    executable = path / "phosim" if path.is_dir() else path
    if not executable.is_file() or not os.access(executable, os.X_OK):
        raise InputNotFoundError(
            f"--phosim {path}: no executable phosim there. Give the folder of an installed PhoSim "
            "(https://www.phosim.org), or its script."
        )
    return Installation(executable=executable.resolve(), instrument=instrument, threads=threads)


def _keep_trimmed(part: Path, observation_id: int) -> None:
    """Link the trimmed catalogues that are in the work folder now, one a chip."""
    for entry in os.scandir(part / "work"):
        chip = trimmed_chip(entry.name, observation_id)
        target = part / "trimmed" / f"{chip}.pars"
        if chip is not None and not target.exists():
            with suppress(FileNotFoundError):  # it went between two looks
                os.link(entry.path, target)


def _last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it wrote nothing"
