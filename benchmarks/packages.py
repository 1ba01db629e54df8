"""Packages nobody here wrote: fetched by name, found in their folders, judged by their own suites.

Owns the source distribution (fetching, safe unpacking, where package and tests lie) and running its suite by plain
pytest. Knows no package by name. What becomes of the code is left to `real_code` and `edges`.

    python benchmarks/packages.py NAME [NAME ...]      # says what was found, and what its suite says here
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MAX_UNPACKED_BYTES = 200 << 20
MAX_MEMBERS = 20_000
FETCH_TIMEOUT_S = 180.0
SUITE_TIMEOUT_S = 900.0
TEST_FOLDERS = ("tests", "test")
NO_PACKAGES = frozenset({*TEST_FOLDERS, "doc", "docs", "example", "examples", "benchmark", "benchmarks", "scripts"})
NO_MODULES = frozenset({"setup", "conftest", "noxfile", "tasks"})
PLAIN = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Equal runs, and pytest without whatever plugins happen to be installed here."""
WORST_FIRST = ("failed", "error", "skipped", "passed")


class PackageError(Exception):
    """A package that cannot be used as it is; the message says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """An unpacked source distribution: its root, the import package (a folder or one module) and the tests in it."""

    name: str
    root: Path
    package: Path
    tests: Path

    def inside(self, path: Path) -> str:
        """Return a path below the root as the root sees it."""
        return path.relative_to(self.root).as_posix()

    def place(self, name: str) -> Path:
        """Return where a plan's file lies; a plan knows its package's own folder, and `src` around it."""
        return self.package.parent / (name.removeprefix("src/") if self.package.parent.name == "src" else name)


def fetch(name: str, folder: Path) -> Path:
    """Download the newest source distribution of `name` and unpack it below `folder`; return its root."""
    downloads, unpacked = folder / "download", folder / "source"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", str(downloads), name], capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
    )
    archives = sorted(downloads.glob("*")) if downloads.exists() else []
    if done.returncode or not archives:
        last = done.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
        raise PackageError(f"{name}: no source distribution could be fetched: {last[0]}")
    unpack(archives[0], unpacked)
    inner = [path for path in unpacked.iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 else unpacked


def unpack(archive: Path, target: Path) -> None:
    """Write the archive's files and folders below `target`; links and devices are left out.

    Raises PackageError for a path that leads outside, and for more than MAX_MEMBERS or MAX_UNPACKED_BYTES.
    """
    target.mkdir(parents=True, exist_ok=True)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            files = [(one.filename, one.file_size) for one in opened.infolist() if not one.is_dir()]
            for name, place in _places(files, target):
                _write(opened.read(name), place)
        return
    try:
        with tarfile.open(archive) as opened_tar:
            members = {one.name: one for one in opened_tar if one.isfile()}
            for name, place in _places([(one.name, one.size) for one in members.values()], target):
                content = opened_tar.extractfile(members[name])
                _write(content.read() if content else b"", place)
    except tarfile.TarError as error:
        raise PackageError(f"{archive.name}: is no archive that can be read: {error}") from None


def _places(files: list[tuple[str, int]], target: Path) -> list[tuple[str, Path]]:
    if len(files) > MAX_MEMBERS or sum(size for _, size in files) > MAX_UNPACKED_BYTES:
        raise PackageError(f"the archive holds more than {MAX_MEMBERS} files or {MAX_UNPACKED_BYTES >> 20} MiB")
    for name, _ in files:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name:
            raise PackageError(f"the archive holds {name[:80]!r}, a path that leads outside")
    return [(name, target / name) for name, _ in files]


def _write(data: bytes, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def locate(name: str, root: Path, package: str | None = None, tests: str | None = None) -> Source:
    """Find the import package and its tests below `root`; `package` and `tests` name them where the layout is odd."""
    root = root.resolve()
    found = root / package if package else _package(name, root)
    if not found.exists():
        raise PackageError(f"{name}: there is no {package} in the source distribution")
    suite = root / tests if tests else _tests(root, found)
    if suite is None or not suite.exists():
        raise PackageError(f"{name}: the source distribution ships no tests that were found; name them by --tests-dir")
    return Source(name, root, found, suite)


def _package(name: str, root: Path) -> Path:
    """Return the package called as the distribution is, else the largest one, else the largest module."""
    bases = [base for base in (root / "src", root) if base.is_dir()]
    packages = [
        path
        for base in bases
        for path in sorted(base.iterdir())
        if (path / "__init__.py").is_file() and path.name.lower() not in NO_PACKAGES
    ]
    modules = [path for base in bases for path in sorted(base.glob("*.py")) if path.stem not in NO_MODULES]
    wanted = name.lower().replace("-", "_").replace(".", "_")
    for path in [*packages, *modules]:
        if path.stem.lower() == wanted:
            return path
    for group in (packages, modules):
        if group:
            return max(group, key=_python_bytes)
    raise PackageError(f"{name}: no import package and no module was found in the source distribution")


def _python_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*.py")))


def _tests(root: Path, package: Path) -> Path | None:
    """Return the folder of tests that is nearest to the root and holds any."""
    usual = [base / name for base in (root, package.parent, package) for name in TEST_FOLDERS]
    others = sorted({path.parent for path in root.rglob("test_*.py")}, key=lambda path: (len(path.parts), path))
    return next((path for path in [*usual, *others] if path.is_dir() and any(_test_files(path))), None)


def _test_files(folder: Path) -> Iterable[Path]:
    return (path for pattern in ("test_*.py", "*_test.py") for path in folder.rglob(pattern))


def replaced(source: Source, files: Mapping[str, str], target: Path) -> Source:
    """Copy the source distribution with the package's Python files taken out and a plan's `files` put in their place.

    The tests, and every file that is not Python, stay those of the source distribution: only code is judged.
    """
    shutil.copytree(source.root, target, ignore=shutil.ignore_patterns("__pycache__"))
    copy = Source(source.name, target, *(target / source.inside(path) for path in (source.package, source.tests)))
    for path in [copy.package] if copy.package.is_file() else list(copy.package.rglob("*.py")):
        if not path.is_relative_to(copy.tests):
            path.unlink()
    for name, text in files.items():
        place = copy.place(name)
        mine = place == copy.package or place.is_relative_to(copy.package)
        if mine and place.suffix == ".py" and not place.is_relative_to(copy.tests):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
    return copy


def run_suite(
    source: Source, *, plugins: Iterable[Path] = (), environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Run the package's suite by plain pytest; return passed, failed, skipped or error by test (or file) id.

    `plugins` are files of pytest plugins. Of several outcomes of one id the worst counts. Its own options (`addopts`)
    are left out: they name plugins that need not be here.
    """
    with tempfile.TemporaryDirectory() as folder:
        books = Path(folder) / "outcomes.xml"
        paths = [source.package.parent, source.root, *(path.parent for path in plugins)]
        flags = [flag for path in plugins for flag in ("-p", path.stem)]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *flags, "-o", "addopts="]
        done = subprocess.run(
            [*command, "-o", "junit_family=xunit1", f"--junitxml={books}", source.inside(source.tests)],
            cwd=source.root,
            env={**os.environ, **PLAIN, "PYTHONPATH": os.pathsep.join(map(str, paths)), **(environment or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SUITE_TIMEOUT_S,
            check=False,
        )
        if not books.exists():
            last = (done.stdout + done.stderr).strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
            raise PackageError(f"{source.name}: pytest gave no outcomes: {last[0]}")
        return outcomes(books.read_text(encoding="utf-8", errors="replace"))


def outcomes(junit: str) -> dict[str, str]:
    """Read pytest's own XML."""
    found: dict[str, str] = {}
    for case in ET.fromstring(junit).iter("testcase"):  # noqa: S314  # written by the pytest we started
        kinds = {"failure": "failed", "error": "error", "skipped": "skipped"}
        outcome = next((kinds[child.tag] for child in case if child.tag in kinds), "passed")
        name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
        found[name] = min(outcome, found.get(name, outcome), key=WORST_FIRST.index)
    return found


def counted(found: Mapping[str, str]) -> str:
    """Say how many ended how."""
    counts = {kind: sum(outcome == kind for outcome in found.values()) for kind in reversed(WORST_FIRST)}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "nothing was collected"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names packages."""
    parser.add_argument("packages", nargs="+", metavar="PACKAGE")
    parser.add_argument("--package-dir", help="of one package: its import package, below the source distribution")
    parser.add_argument("--tests-dir", help="of one package: its tests, the same")


def fetched(arguments: argparse.Namespace, folder: Path) -> list[Source]:
    """Fetch and find all packages of the command line."""
    if len(arguments.packages) > 1 and (arguments.package_dir or arguments.tests_dir):
        raise PackageError("--package-dir and --tests-dir are for one package at a time")
    return [
        locate(name, fetch(name, folder / name), arguments.package_dir, arguments.tests_dir)
        for name in arguments.packages
    ]


def main() -> None:
    """Fetch, find, run, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    with tempfile.TemporaryDirectory() as folder:
        try:
            for source in fetched(parser.parse_args(), Path(folder)):
                where = f"{source.inside(source.package)}, tests in {source.inside(source.tests)}"
                print(f"{source.root.name}: {where}: {counted(run_suite(source))}", flush=True)
        except PackageError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
