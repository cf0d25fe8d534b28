#!/usr/bin/python3
"""Every row of language_ja.def translates a text that stands in server/, or is shown by it, and does so once, in the words that the
other rows have; every command, option, reason of a decision and text in tr() has a row."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER = ROOT / "server"
REASONS = ROOT / "lib/access/reasons.def"
SHOWN = (REASONS, ROOT / "pix/identity_counts.def", ROOT / "pix/link_reasons.def")
DEFAULT_CONFIG = re.compile(r'"\s*DEFAULT_CONFIG\b(?:\s*")?')
JOINTS = re.compile(r'"\s*\n\s*"')
TEXT = r'"((?:[^"\\]|\\.)*)"'
ROW = re.compile(rf"^TEXT\({TEXT},\s*{TEXT}\)$", re.M)
HELP = re.compile(r'^(?:COMMAND|    (?:TEXT|FLAG)_OPTION)\((?:[^"]|"(?:[^"\\]|\\.)*")*?"((?:[^"\\]|\\.)+)"\),?$', re.M)
REASON = re.compile(rf"^REASON\(.*?{TEXT}\)$", re.M)
SAID = re.compile(rf"\bcommand_say\((?:\w+->)?\w+,\s*(?!\"%s\"){TEXT}")
TRANSLATED = re.compile(rf"\btr\(\s*{TEXT}")
# One thing has one name: what is not written, and what is.
WORDS = {"目録": "マニフェスト", "アフィニティー": "アフィニティ", "コミュニティー": "コミュニティ", "電文": "メッセージ", "発番": "ID 発行機関",
         "サーバ(?!ー)": "サーバー", "フォルダ(?!ー)": "フォルダー", "ユーザ(?!ー)": "ユーザー", "(?<!ID )発行機関": "ID 発行機関", "[（）]": "( )",
         r"(?<![\\%])[A-Za-z0-9][ぁ-んァ-ヶ一-龠]|[ぁ-んァ-ヶー一-龠][A-Za-z0-9]": "a space between the scripts"}


def texts_of(path):
    """A source whose literals in pieces are whole."""
    return JOINTS.sub("", DEFAULT_CONFIG.sub('"', path.read_text(encoding="utf-8")))


def faults_of(rows, sources):
    """What is wrong with the rows themselves."""
    english = [text for text, _ in rows]
    yield from (f"no source has this text: {text}" for text in english if f'"{text}' not in sources)
    yield from (f"a text has two rows: {text}" for text in sorted(set(english)) if english.count(text) > 1)
    for _, japanese in rows:
        yield from (f"write {word}: {japanese}" for other, word in WORDS.items() if re.search(other, japanese))


def main():
    """Prints faults; the exit status tells whether there are any."""
    paths = [path for path in sorted(SERVER.rglob("*")) if path.suffix in (".c", ".def") and path.stem not in ("language", "language_ja")]
    sources = "".join(texts_of(path) for path in (*paths, *SHOWN))
    (table,) = SERVER.rglob("language_ja.def")
    rows = ROW.findall(texts_of(table))
    wanted = set(TRANSLATED.findall(sources)) | set(REASON.findall(texts_of(REASONS)))
    for path in paths:
        wanted.update(HELP.findall(texts_of(path)) if path.name in ("commands.def", "options.c") else ())
    faults = [*faults_of(rows, sources), *(f"no row translates: {text}" for text in sorted(wanted - {text for text, _ in rows}))]
    faults += [f"write tr(...), or nobody sees its row: {text}" for text in SAID.findall(sources)]
    for fault in faults:
        print(f"{table.name}: {fault}")
    print(f"{len(rows)} texts, {len(wanted)} of them wanted, {len(faults)} faults")
    return 1 if faults or not rows or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
