#!/usr/bin/python3
"""What the pages of the tree (*.md) name is there: files, folders, what links lead to, functions; and a folder's README names each of its
sources."""

import fnmatch
import pathlib
import posixpath
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = (".c", ".cc", ".h", ".def", ".py")
FILE = re.compile(r"[\w./*<>-]+\.(?:cc?|h|def|py|sql|sh|toml|svg|md)\b")
WORD = re.compile(r"`([\w*-]+)`")
LINK = re.compile(r"\]\(([^):#]*)(?:#([^)]+))?\)")
FOLDER = re.compile(r"`([\w-]+(?:/[\w-]+)+)/?`")
HEADING = re.compile(r"^#+ (.*)$", re.M)
FUNCTION = re.compile(r"\b([a-z_][a-z_0-9]+)\(\)")
ELSEWHERE = ("/", "var/", "testssl.sh")  # of the machine, of a run, of others


def tracked():
    """Paths of the tree's files; None in a tree that is no clone."""
    if not (ROOT / ".git").exists():
        return None
    found = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    return [name for name in found.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def pattern_of(name):
    """A name as fnmatch knows it: NN and NNNN stand for digits, <word> for anything."""
    return re.sub(r"<\w+>", "*", re.sub(r"(?:NN)+", "[0-9]*", name))


def anchors_of(text):
    """The anchors of a page's headings, as the usual renderers make them."""
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


class Tree:
    """The files, by what a page may call them."""

    def __init__(self, names):
        self.names = names
        self.by_base = {}
        for name in names:
            self.by_base.setdefault(posixpath.basename(name), []).append(name)
        self.top = {name.partition("/")[0] for name in names if "/" in name}
        self.paths = {"/".join(parts[:count]) for parts in (name.split("/") for name in names) for count in range(1, len(parts) + 1)}
        self.words = set()
        for name in names:
            if name.endswith(SOURCES):
                self.words.update(re.findall(r"\w+", (ROOT / name).read_text(encoding="utf-8", errors="replace")))

    def has_file(self, name, folder):
        """Named from the root, from the page's folder, or by the end of a path that is somewhere."""
        pattern = pattern_of(name)
        base = posixpath.basename(pattern)
        bases = fnmatch.filter(self.by_base, base) if re.search(r"[*?[]", base) else [base] if base in self.by_base else []
        ends = (pattern, posixpath.normpath(posixpath.join(folder, pattern)), "*/" + pattern)
        return any(fnmatch.fnmatch(path, end) for base in bases for path in self.by_base[base] for end in ends)

    def has_path(self, name, folder):
        """A link: a file, or a folder in which there are some."""
        return posixpath.normpath(posixpath.join(folder, name)) in self.paths


def faults_of(page, text, tree):
    """What a page names and is not there."""
    folder = posixpath.dirname(page)
    for name in sorted(set(FILE.findall(text))):
        if not name.startswith(ELSEWHERE) and not tree.has_file(name, folder):
            yield f"{page}: there is no file {name}"
    for name, anchor in sorted(set(LINK.findall(text))):
        target = ROOT / folder / name if name else ROOT / page
        if name and not tree.has_path(name, folder):
            yield f"{page}: the link {name} leads nowhere"
        elif anchor and anchor not in anchors_of((target / "README.md" if target.is_dir() else target).read_text(encoding="utf-8")):
            yield f"{page}: {name or 'this page'} has no heading for #{anchor}"
    for name in sorted(set(FOLDER.findall(text))):
        if name.partition("/")[0] in tree.top and not tree.has_path(name, ""):
            yield f"{page}: there is no folder {name}"
    for name in sorted(set(FUNCTION.findall(text))):
        if name not in tree.words:
            yield f"{page}: there is no function {name}()"


def unnamed_of(page, text, tree):
    """Sources in the folder of a README that it does not name: with or without their suffix, or by a pattern."""
    folder = posixpath.dirname(page)
    stems = [posixpath.basename(pattern_of(name)).partition(".")[0] for name in FILE.findall(text) + WORD.findall(text)]
    for name in tree.names:
        base = posixpath.basename(name)
        stem = base.partition(".")[0]
        if posixpath.dirname(name) == folder and base.endswith(SOURCES) and base != "__init__.py" and not any(
                fnmatch.fnmatch(stem, pattern) for pattern in stems):
            yield f"{page} does not name {base}"


def main():
    """Checks every page; skipped (77) in a tree that is no clone."""
    names = tracked()
    if names is None:
        return 77
    tree = Tree(names)
    pages = [name for name in names if name.endswith(".md")]
    faults = []
    for page in pages:
        text = (ROOT / page).read_text(encoding="utf-8")
        faults += faults_of(page, text, tree)
        if posixpath.dirname(page) and posixpath.basename(page) == "README.md":
            faults += unnamed_of(page, text, tree)
    for fault in faults:
        print(fault)
    print(f"{len(pages)} pages, {len(faults)} faults")
    return 1 if faults or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
