"""Models of our own come with the program, are what the manifest says, and stay small."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import pytest
from msgspec.structs import replace

from shoal.errors import Failed, Refused, Untrusted
from shoal.worker.models import File, Model, check, ensure, find, manifest
from shoal.worker.sources import OwnSource, sources

CHECKPOINT_BYTES_MAX = 10 << 20
OWN = [model for model in manifest() if any(file.own for file in model.files)]
PAINTER = find("text-to-image", "shoal/emoji-64")
#: Without the models that it works with, which are not ours.
ALONE = replace(PAINTER, also={})


def quiet(model: Model, done: int, total: int) -> None:
    """Progress that nobody watches."""


def test_the_picture_model_is_ours() -> None:
    assert PAINTER in OWN
    assert all(file.own for file in PAINTER.files)


@pytest.mark.parametrize("model", OWN, ids=lambda model: model.id)
def test_what_is_kept_is_what_the_manifest_says_and_small(model: Model) -> None:
    for file in model.files:
        data = resources.files("shoal.worker").joinpath(file.own).read_bytes()
        assert len(data) == file.bytes
        assert hashlib.sha256(data).hexdigest() == file.sha256
    assert model.bytes <= CHECKPOINT_BYTES_MAX


def test_it_is_fetched_without_any_network(tmp_path: Path) -> None:
    folder = ensure(ALONE, tmp_path, quiet, (OwnSource(),))
    assert {path.name for path in folder.glob("*.onnx")} == {file.name for file in PAINTER.files}
    assert isinstance(sources({"SHOAL_HUB_URL": ""})[0], OwnSource)


def test_other_bytes_than_the_manifests_are_not_used(tmp_path: Path) -> None:
    first, *rest = ALONE.files
    wrong = replace(ALONE, files=(replace(first, sha256="0" * 64), *rest))
    with pytest.raises(Failed, match="is not what the manifest says"):
        ensure(wrong, tmp_path, quiet, (OwnSource(),))
    with pytest.raises(Untrusted):
        OwnSource().fetch(wrong, wrong.files, tmp_path, lambda done, of: None)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    lost = replace(ALONE, files=(File("lost.onnx", 1, "0" * 64, own="weights/lost.onnx"),))
    with pytest.raises(Failed, match="install shoal anew"):
        OwnSource().fetch(lost, lost.files, tmp_path, lambda done, of: None)


def test_a_file_without_any_source_is_refused() -> None:
    with pytest.raises(Refused, match="has no source"):
        check(replace(ALONE, files=(File("lost.onnx", 1, "0" * 64),)))
