"""Programs from npm that the full suite uses, at fixed versions, in build/npm, outside of what git keeps."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "npm"
LIBRARIES = {"dicomweb-client": "0.11.3", "xhr2": "0.2.1", "puppeteer-core": "24.10.0"}
VIEWER = ("@ohif/app", "3.12.0")  # its package holds the built viewer; what it was built from is not needed
INSTALL_S = 600


def _npm(*arguments):
    subprocess.run(["npm", *arguments], cwd=FOLDER, check=True, timeout=INSTALL_S, stdout=subprocess.DEVNULL)


def libraries():
    """Folder whose node_modules has the libraries."""
    mark = FOLDER / "installed"
    wanted = " ".join(f"{name}@{version}" for name, version in LIBRARIES.items())
    if not mark.exists() or mark.read_text(encoding="ascii") != wanted:
        FOLDER.mkdir(parents=True, exist_ok=True)
        _npm("install", "--silent", "--no-package-lock", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(FOLDER),
             *wanted.split())
        mark.write_text(wanted, encoding="ascii")
    return FOLDER


def viewer():
    """Folder of the viewer's static files."""
    name, version = VIEWER
    folder = FOLDER / f"viewer-{version}"
    if not folder.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        _npm("pack", "--silent", f"{name}@{version}", "--pack-destination", str(FOLDER))
        archive = FOLDER / f"{name.strip('@').replace('/', '-')}-{version}.tgz"
        unpacked = FOLDER / "unpacked"
        unpacked.mkdir(exist_ok=True)
        subprocess.run(["tar", "-xzf", str(archive), "-C", str(unpacked), "--strip-components=2", "package/dist"], check=True)
        os.rename(unpacked, folder)
        archive.unlink()
    return folder
