#!/usr/bin/python3
"""What the pages tell operators and vendors is so: commands with their words and options, configuration keys, error codes, endpoints,
columns of tables; and every command, error code and table is told of. With the program as argument: the page of keys is what it prints."""

import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
JOINTS = re.compile(r'"\s*\n\s*"')
COMMAND = re.compile(r'^COMMAND\("([\w-]+)",\s*\w+,\s*"((?:[^"\\]|\\.)*)"', re.M)
OPTION = re.compile(r'(TEXT|FLAG)_OPTION\(\s*"([\w-]+)",\s*\w+,\s*(?:"([^"]*)",\s*)?(NULL|"[^"]*"),\s*"')
KEY = re.compile(r"^KEY\((\w+), (\w+),", re.M)
ERROR = re.compile(r'^ERROR\((\w+),\s*"(\w+)"', re.M)
COLUMNS = re.compile(r"csv_columns\[\w*\] = \{(.*?)\};", re.S)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
CONFIG = re.compile(r"`\[(\w+)\] (\w+)")
SOAP = re.compile(r'^SOAP\("(/\w+)",\s*"([\w-]+)".*?(true|false),\s*"[^"]+"\)$', re.M | re.S)
WEB = re.compile(r'^DICOMWEB\("\w+",\s*"(/\w+)[^"]*",\s*"([\w-]+)"', re.M)
FHIR = re.compile(r'^FHIR\("\w+",\s*"[^"]*",\s*"(ITI-\d+)"', re.M)
MESSAGE = re.compile(r'^MESSAGE\("\w+", "\w+", "[^"]*",\s*"(ITI-\d+)"', re.M)
TRANSACTION = re.compile(r"\b(?:ITI|RAD)-\d+\b")
KEYS_PAGE = ROOT / "docs" / "reference" / "configuration.md"
WORD = re.compile(r"[a-z][a-z-]+")


def source(name):
    """A file of the server, wherever it is, with whole literals."""
    (path,) = (ROOT / "server").rglob(name)
    return JOINTS.sub("", path.read_text(encoding="utf-8"))


def read_commands():
    """{command: (its forms, {option: whether it has a value})}."""
    forms = {name: text.replace("\\n", "\n").split("\n") for name, text in COMMAND.findall(source("commands.def"))}
    options = {name: {"help": False} for name in forms}
    for kind, name, _, commands in OPTION.findall(source("options.c")):
        for command in forms if commands == "NULL" else commands.strip('"').split():
            options[command][name] = kind == "TEXT"
    return {name: (forms[name], options[name]) for name in forms}


def calls_of(text):
    """Every `musubi ...` of a page, as words; what follows a pipe, a semicolon or a comment is none of it."""
    lines = []
    for kind, block in BLOCK.findall(text):
        lines += block.replace("\\\n", " ").split("\n") if kind in ("", "sh") else []
    lines += [" ".join(inline.split()) for inline in INLINE.findall(BLOCK.sub("", text))]
    for line in lines:
        for part in re.split(r"[|;](?=(?:[^']*'[^']*')*[^']*$)", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue
            if words[:1] == ["musubi"] and len(words) > 1:
                yield words[1:]


def faults_of_call(words, commands):
    """What the program would not take."""
    name, rest = words[0], words[1:]
    if name.startswith("-") or not WORD.fullmatch(name):
        return
    if name not in commands:
        yield f"there is no command {name}"
        return
    forms, options = commands[name]
    firsts = {word for form in forms for word in form.split()[:1] if WORD.fullmatch(word)}
    if rest and firsts and WORD.fullmatch(rest[0]) and rest[0] not in firsts and not any(f[:1].isupper() for f in forms):
        yield f"{name} has no {rest[0]}"
    for word in rest:
        option = word[2:].partition("=")[0]
        if word.startswith("--") and option not in options:
            yield f"{name} has no --{option}"


def faults_of_page(text, commands, keys):
    """What a page tells and is not so."""
    for words in calls_of(text):
        for fault in faults_of_call(words, commands):
            yield f"musubi {' '.join(words)}: {fault}"
    for section, key in CONFIG.findall(text):
        if key not in keys.get(section, ()):
            yield f"there is no key [{section}] {key}"
    for kind, block in BLOCK.findall(text):
        section = ""
        for line in block.split("\n") if kind == "ini" else ():
            section = line.strip("[]") if line.startswith("[") else section
            key = line.partition("=")[0].strip()
            if "=" in line and key not in keys.get(section, ()):
                yield f"there is no key [{section}] {key}"


def faults_of_help(commands):
    """Options that no form of their command shows; CRITERIA stands for those that search."""
    shared = set.intersection(*(set(options) for _, options in commands.values()))
    for name, (forms, options) in commands.items():
        text = " ".join(forms)
        yield from (f"musubi {name} --help: no form shows --{option}" for option in sorted(set(options) - shared)
                    if f"--{option}" not in text and "CRITERIA" not in text)


def error_codes():
    """Codes that senders may see (those that some source names), and all codes."""
    rows = ERROR.findall((ROOT / "lib/base/error_codes.def").read_text(encoding="utf-8"))
    used = set()
    for folder in ("lib", "registry", "repository", "pix", "server"):
        for path in (ROOT / folder).rglob("*.c"):
            used.update(re.findall(r"\bERR_(\w+)", path.read_text(encoding="utf-8")))
    return {code for name, code in rows if name in used}, {code for _, code in rows}


def endpoints():
    """{what a row of the table of endpoints begins with: its transactions}."""
    found = {"HOST:2576": set(MESSAGE.findall((ROOT / "pix/messages.def").read_text(encoding="utf-8"))),
             "/fhir": set(FHIR.findall(source("fhir_transactions.def")))}
    for path, number in [(path, number) for path, number, _ in SOAP.findall(source("transactions.def"))] + WEB.findall(
            source("dicomweb_transactions.def")):
        found.setdefault(path, set()).add(number)
    return found


def faults_of_tables(pages):
    """Transactions that the tables of endpoints and of asynchronous replies have too many or too few."""
    page = pages["docs/integration.md"]
    for begin, wanted in endpoints().items():
        row = re.search(rf"^\| (?:`https://HOST:8443)?{begin}\b.*$", page, re.M)
        if not row or set(TRANSACTION.findall(row[0])) != wanted:
            yield f"docs/integration.md: the row of {begin} has to name {', '.join(sorted(wanted))}"
    later = {number for _, number, is_asynchronous in SOAP.findall(source("transactions.def")) if is_asynchronous == "true"}
    row = re.search(r"^\| Asynchronous replies .*$", pages["README.md"], re.M)
    if not row or set(TRANSACTION.findall(row[0])) != later:
        yield f"README.md: asynchronous replies are those of {', '.join(sorted(later))}"


def faults_of_manual(pages, commands):
    """What the pages together do not tell."""
    text = "\n".join(pages.values())
    told = {words[0] for page in pages.values() for words in calls_of(page)}
    yield from (f"no page tells of the command {name}" for name in commands if name not in told and name != "version")
    used, known = error_codes()
    page = pages["docs/integration.md"]
    named = set(re.findall(r"`((?:XDS|\w+(?:Error|Exception|Content))\w*)`", page[page.index("## Errors"):]))
    yield from (f"docs/integration.md: no row for {code}" for code in sorted(used - named))
    yield from (f"docs/integration.md: there is no code {code}" for code in sorted(named - known - {"VersionError"}))
    for path in (ROOT / "server").rglob("*.c"):
        for columns in COLUMNS.findall(path.read_text(encoding="utf-8")):
            names = ",".join(re.findall(r'"(\w+)"', columns))
            if f"`{names}`" not in text:
                yield f"docs/operation/hospitals.md: no table has the columns {names}"


def main():
    """Prints faults; the exit status tells whether there are any."""
    paths = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*/README.md")), *sorted(ROOT.glob("*/*/README.md"))]
    pages = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}
    commands = read_commands()
    keys = {}
    for section, key in KEY.findall(source("config.def")):
        keys.setdefault(section, set()).add(key)
    faults = [f"{name}: {fault}" for name, text in pages.items() for fault in faults_of_page(text, commands, keys)]
    faults += faults_of_manual({name: text for name, text in pages.items() if name.startswith(("README", "docs/"))}, commands)
    faults += faults_of_help(commands)
    faults += faults_of_tables(pages)
    for program in sys.argv[1:]:
        printed = subprocess.run([program, "print-config", "--markdown", "--config", "/dev/null"], capture_output=True, text=True, check=False)
        if printed.stdout != KEYS_PAGE.read_text(encoding="utf-8"):
            faults.append(f"{KEYS_PAGE.relative_to(ROOT)} is not what the program prints: musubi print-config --markdown --config /dev/null")
    for fault in faults:
        print(fault)
    print(f"{len(pages)} pages, {len(commands)} commands, {sum(map(len, keys.values()))} keys, {len(faults)} faults")
    return 1 if faults or not commands or not keys else 0


if __name__ == "__main__":
    sys.exit(main())
