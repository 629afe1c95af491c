"""The models a worker may run: named in a manifest, fetched once, checked always.

A file is used only if its bytes are the manifest's; a model without a licence, or one that is not
listed, is refused. What was fetched lies in the user's data folder and outlives any copy of this program.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias

import msgspec
import platformdirs
from msgspec import Meta, Struct

from shoal.errors import Broken, Failed, Refused, ShoalError, UnknownModel, Untrusted
from shoal.wire.pipelines import PIPELINES

MARKER = "verified.json"

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=128)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Meta(ge=0)]


class Hub(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the publisher keeps a file."""

    repo: str
    revision: str
    path: str


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """One file: what it must be, and where its bytes come from."""

    name: Name
    bytes: Bytes
    sha256: Sha256
    #: `package:path in its archive`, joined in this order.
    parts: tuple[str, ...] = ()
    hub: Hub | None = None
    #: Where it lies in this package: a model of our own.
    own: str = ""


class Package(Struct, frozen=True, forbid_unknown_fields=True):
    """A package whose archive holds files of a model."""

    name: Name
    version: Name
    bytes: Bytes
    sha256: Sha256
    #: The tags of its archive where it has several, `cp311-none-manylinux1_x86_64`: the data in it fits everywhere.
    wheel: Annotated[str, Meta(pattern=r"^([a-z0-9_]+-[a-z0-9_]+-[a-z0-9_]+)?$")] = ""


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """One model for one pipeline."""

    pipeline: str
    id: str
    runtime: str
    memory_bytes: Bytes
    files: Annotated[tuple[File, ...], Meta(min_length=1)]
    packages: tuple[Package, ...] = ()
    licence: str = ""
    #: What it really does, in one honest line for people.
    method: str = ""
    #: Models of other pipelines that this one works with: pipeline -> id. They lie in folders of their pipeline's name.
    also: dict[str, str] = {}

    @property
    def bytes(self) -> int:
        """How much room the files take."""
        return sum(file.bytes for file in self.files)


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    model: tuple[Model, ...]


# msgspec learns what a type looks like when it first meets it, and two threads that meet one at once bring the whole
# process down (0.22). A worker makes several models ready at once: so this is met here, while there is one thread.
msgspec.convert({"model": ()}, Manifest)

#: Called with how many bytes of the files wanted are here, and how many there are.
Report: TypeAlias = Callable[[int, int], None]
#: Called with the model, how many of its bytes are here, and how many it has.
Progress: TypeAlias = Callable[[Model, int, int], None]


class Source(Protocol):
    """Somewhere that files can be had from."""

    def fetch(self, model: Model, wanted: Sequence[File], folder: Path, report: Report) -> None:
        """Put what it has of the wanted files into the folder by way of `settle`; raise when it cannot."""


def parse(text: str) -> tuple[Model, ...]:
    """The models of a manifest; Refused when one is not fit for use."""
    try:
        models = msgspec.convert(tomllib.loads(text), Manifest).model
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Refused(f"the manifest of models is not valid: {error}") from error
    for model in models:
        check(model)
    names = [(model.pipeline, model.id) for model in models]
    if len(set(names)) < len(names):
        raise Refused("the manifest of models names a model twice")
    for model in models:
        for pipeline, other in model.also.items():
            if (pipeline, other) not in names:
                raise Refused(f"{model.id} works with the {pipeline} model {other}, which the manifest lacks")
    return models


def check(model: Model) -> None:
    """Refuse a model that may not be used or could not be had."""
    if not model.licence.strip():
        raise Refused(f"{model.id} states no licence, so it is not used; find out its licence and state it")
    packages = {package.name for package in model.packages}
    for file in model.files:
        if not file.parts and not file.own and file.hub is None:
            raise Refused(f"{model.id}: {file.name} has no source")
        for part in file.parts:
            if part.partition(":")[0] not in packages:
                raise Refused(f"{model.id}: {file.name} comes from {part}, which is none of its packages")


@functools.cache
def manifest() -> tuple[Model, ...]:
    """The models that this version knows, and those that other packages bring for their pipelines."""
    outside = (row.runner.rpartition(".")[0] for row in PIPELINES.values() if row.runner and row.has_models)
    packages = ("shoal.worker", *dict.fromkeys(outside))
    return parse("\n".join(resources.files(name).joinpath("models.toml").read_text() for name in packages))


def find(pipeline: str, model_id: str, models: Sequence[Model] | None = None) -> Model:
    """The model of that name; an empty name means the pipeline's default, the first."""
    known = [model for model in (manifest() if models is None else models) if model.pipeline == pipeline]
    if not known:
        raise UnknownModel(f"there is no model for the pipeline {pipeline!r}")
    for model in known:
        if model_id in ("", model.id):
            return model
    raise UnknownModel(
        f"no {pipeline} model {model_id!r}; there are: {', '.join(model.id for model in known)}"
    )


def models_home(environment: Mapping[str, str]) -> Path:
    """Where models are kept: `$SHOAL_HOME/models`, else the platform's folder for a user's data."""
    home = environment.get("SHOAL_HOME")
    return (Path(home) if home else platformdirs.user_data_path("shoal")) / "models"


def folder_of(model: Model, home: Path) -> Path:
    """Where a model's files lie."""
    return home / model.pipeline / model.id.replace("/", "--")


def ensure(
    model: Model,
    home: Path,
    progress: Progress,
    sources: Sequence[Source],
    *,
    rehash: bool = False,
    models: Sequence[Model] | None = None,
) -> Path:
    """The folder with the model's files, all of them checked; what is missing is fetched.

    Of several that ask at once one fetches and the others wait. With `rehash` no earlier check is trusted.
    Models that it works with are fetched too, and linked from its folder.
    """
    for pipeline, model_id in model.also.items():
        other = find(pipeline, model_id, models)
        _link(
            folder_of(model, home) / pipeline,
            ensure(other, home, progress, sources, rehash=rehash, models=models),
        )
    check(model)
    folder = folder_of(model, home)
    with alone(folder):
        faults = _fill(model, folder, progress, sources, rehash=rehash)
        missing = _missing(model, folder)
        if missing:
            told = "; ".join(error.message for error in faults) or "there is no source for them"
            raise Failed(f"cannot fetch {', '.join(file.name for file in missing)} of {model.id}: {told}")
    progress(model, model.bytes, model.bytes)
    return folder


def _link(link: Path, folder: Path) -> None:
    """Let one folder be found in another, by a way that holds when both are moved."""
    link.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(folder, link.parent)
    with alone(link.parent):
        if not link.is_symlink() or str(link.readlink()) != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)


def _fill(
    model: Model, folder: Path, progress: Progress, sources: Sequence[Source], *, rehash: bool
) -> list[ShoalError]:
    faults: list[ShoalError] = []
    wanted = _missing(model, folder, rehash=rehash)
    for source in sources if wanted else ():
        here = model.bytes - sum(file.bytes for file in wanted)

        def report(done: int, total: int, here: int = here) -> None:
            progress(model, here + (model.bytes - here) * done // max(total, 1), model.bytes)

        try:
            source.fetch(model, wanted, folder, report)
        except ShoalError as error:
            faults.append(error)
        wanted = _missing(model, folder)
        if not wanted:
            break
    return faults


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder against other processes; the lock ends with its holder, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Seen(Struct, frozen=True):
    """What a file looked like when its bytes were last checked."""

    bytes: int
    mtime_ns: int
    sha256: str


_seen = msgspec.json.Decoder(dict[str, Seen])


def _missing(model: Model, folder: Path, *, rehash: bool = False) -> list[File]:
    """The files that are absent or wrong; a good one is remembered, so that it is read only once."""
    marker = folder / MARKER
    before = {} if rehash else _read_marker(marker)
    after: dict[str, Seen] = {}
    for file in model.files:
        seen = _look(folder / file.name, file, before.get(file.name))
        if seen is not None:
            after[file.name] = seen
    if after != before:
        write_whole(marker, msgspec.json.encode(after))
    return [file for file in model.files if file.name not in after]


def _look(path: Path, file: File, before: Seen | None) -> Seen | None:
    if not path.is_file() or path.stat().st_size != file.bytes:
        return None
    now = Seen(file.bytes, path.stat().st_mtime_ns, file.sha256)
    return now if now == before or sha256_of(path) == file.sha256 else None


def _read_marker(marker: Path) -> dict[str, Seen]:
    try:
        return _seen.decode(marker.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def settle(part: Path, file: File, folder: Path) -> None:
    """Give a complete download its name if its bytes are right; else remove it and raise."""
    if part.parent != folder:
        raise Broken(f"{part} does not lie in {folder}, so it cannot be moved in one step")
    size, found = part.stat().st_size, sha256_of(part)
    if size != file.bytes or found != file.sha256:
        part.unlink()
        raise Untrusted(
            f"{file.name} is not what the manifest says: {size} bytes of {file.bytes}, sha256 {found[:12]}… "
            f"instead of {file.sha256[:12]}…"
        )
    flush(part)
    part.replace(folder / file.name)
    flush(folder)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    part = path.with_name(path.name + ".new")
    part.write_bytes(data)
    flush(part)
    part.replace(path)


def flush(path: Path) -> None:
    """Put a file, or a folder's list of names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """A file's SHA-256 in hex, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
