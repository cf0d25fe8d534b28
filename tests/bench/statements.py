"""The server's own statements: taken from PostgreSQL's log while the server answers one request, and written again as a
pgbench script and as a script of `floor composed` (transaction.h), with values that are new in every transaction."""

import itertools
import json
import pathlib
import re
import time

import psycopg2

# Inside a transaction the server sends statements in pipelines. These wait for the answers to what was sent before, and so
# begin a new one (registry/registration.c); outside a transaction each statement is a round trip of its own.
_BEGINS_ROUND_TRIP = re.compile(r"INSERT INTO submission_set|SELECT .* FROM patient_identifier")
_BACKGROUND = re.compile(r"audit_outbox (?:WHERE|ORDER)|FROM audit_outbox|node_activity|DELETE FROM|pg_stat|SELECT 1$|\bnode\b|stats_reset"
                         r"|FROM assigning_authority authority|identity_subscriber|identity_notification|identity_provider")
# Access rules are read on a connection of their own, in one round trip (lib/access/rules.c).
_RULES = re.compile(r"FROM access_role |FROM disclosure d|FROM enrolment")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SHA256 = re.compile(r"^\\x[0-9a-f]{64}$")
_NOW_MS = "lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')"
SESSION = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"  # as lib/db has it


def socket_dir(server):
    """Folder of the UNIX socket of the server's private PostgreSQL."""
    return next(pathlib.Path(server.dir, "data", "postgres").glob("**/postmaster.pid")).read_text().splitlines()[4]


def conninfo(server):
    """For the programs that connect as the superuser."""
    return f"host={socket_dir(server)} port=5432 user=postgres dbname=musubi"


def connect(server, user="postgres"):
    """A connection of the superuser, autocommit."""
    connection = psycopg2.connect(host=socket_dir(server), port=5432, user=user, dbname="musubi")
    connection.autocommit = True
    return connection


def _parameters(detail):
    """Values of "parameters: $1 = '...', $2 = NULL"; None for NULL."""
    found = re.findall(r"\$\d+ = (NULL|'((?:[^']|'')*)')(?:, |$)", detail or "", re.S)
    return [None if text == "NULL" else value.replace("''", "'") for text, value in found]


def capture(server, send):
    """[(sql, [parameter text])] of what the server runs while send() sends one request."""
    settings = {"log_destination": "'jsonlog'", "log_statement": "'all'", "log_error_verbosity": "'default'",
                "log_parameter_max_length": "-1"}
    logs = pathlib.Path(server.dir, "data", "postgres", "log")
    with connect(server).cursor() as cursor:
        for name, value in settings.items():
            cursor.execute(f"ALTER SYSTEM SET {name} = {value}")
        cursor.execute("SELECT pg_reload_conf()")
        time.sleep(0.5)
        before = {path: path.stat().st_size for path in logs.glob("*.json")}
        send()
        time.sleep(0.2)
        for name in settings:
            cursor.execute(f"ALTER SYSTEM RESET {name}")
        cursor.execute("SELECT pg_reload_conf()")
        time.sleep(0.3)
    found = []
    for path in sorted(logs.glob("*.json")):
        with open(path, "rb") as file:
            file.seek(before.get(path, 0))
            entries = [json.loads(line) for line in file]
        for entry in entries:
            match = re.match(r"execute [^:]*: (.*)", entry.get("message", ""), re.S)
            if match and entry.get("application_name") == "musubi":
                found.append((entry["pid"], match.group(1), _parameters(entry.get("detail"))))
    return _one_request(found)


def _one_request(entries):
    """Drops what background threads ran meanwhile on other connections, or before and after on this one."""
    own = [entry for entry in entries if not _BACKGROUND.search(entry[1]) and not _RULES.search(entry[1])]
    pids = [pid for pid, sql, _ in own if not sql.startswith(("BEGIN", "COMMIT", "SELECT pg_current_xact_id"))]
    if not pids:
        return []
    own = [(sql, values) for pid, sql, values in entries if pid == pids[0] or _RULES.search(sql)]
    kept, transaction = [], []
    for sql, values in own:  # a transaction of a background thread is dropped as a whole
        transaction.append((sql, values))
        if sql.startswith("COMMIT") or not transaction[0][0].startswith("BEGIN"):
            if not any(_BACKGROUND.search(text) for text, _ in transaction):
                kept += transaction
            transaction = []
    return kept + [entry for entry in transaction if not _BACKGROUND.search(entry[0])]


class Script:
    """The statements of one request, with tokens where two requests differ (transaction.h)."""

    def __init__(self, server, send, modulo):
        """send(number) sends the request with that number; modulo is what load.c gets as --modulo."""
        self.modulo = modulo
        self.patient_offset = 0
        self.letters = {}
        self.batches = []
        base = (10 ** 11 // modulo + 1) * modulo  # request base + k is about patient or document k
        self._numbers = [f"{base + k:012}" for k in (1, 2)]
        send(base)  # prepares the statements and interns the codes
        first, second = (capture(server, lambda number=base + k: send(number)) for k in (1, 2))
        if [sql for sql, _ in first] != [sql for sql, _ in second] or not first:
            raise ValueError("two requests of a kind ran different statements:\n" + "\n".join(
                f"{a[0][:90]} | {b[0][:90]}" for a, b in itertools.zip_longest(first, second, fillvalue=("", []))))
        is_inside = is_rule = False
        for (sql, values), (_, others) in zip(first, second):
            params = [self._tokens(value, other) for value, other in zip(values, others)]
            was_rule, is_rule = is_rule, bool(_RULES.search(sql))
            if is_rule != was_rule or not is_rule and (not is_inside or _BEGINS_ROUND_TRIP.search(sql)):
                self.batches.append([])
            self.batches[-1].append({"sql": sql, "params": params})
            is_inside = (is_inside or sql.startswith("BEGIN")) and not sql.startswith("COMMIT")

    def _letter(self, uuid):
        """Upper case for one that begins with the time (RFC 9562 version 7): where it goes in an index matters."""
        letters = "ABCDEFGHIJKLM" if uuid[14:15] == "7" and uuid[13] == "-" else "abcdefghijklm"
        return "@" + self.letters.setdefault(uuid, letters[len(self.letters)])

    def _tokens(self, value, other):
        if value is None or value == other:
            return value.replace("@", "@@") if value else value
        if _SHA256.match(value):
            return "\\x" + self._letter(value[2:34]) + self._letter(value[34:])
        escaped = value.replace("@", "@@")
        if len(value) > 400:
            return escaped  # rendered metadata, audit text: no index looks at it
        numbers, others = re.fullmatch(r"(\{?)(\d{1,9})(\}?)", value), re.fullmatch(r"\{?(\d{1,9})\}?", other)
        if numbers and others and int(others[1]) == int(numbers[2]) + 1:
            self.patient_offset = int(numbers[2]) - 1
            return f"{numbers[1]}@q{numbers[3]}"
        escaped = escaped.replace(self._numbers[0], "@n").replace(f"{1:012}", "@p")
        same = set(_UUID.findall(other))
        return _UUID.sub(lambda m: m[0] if m[0] in same else self._letter(m[0]), escaped)

    def write_json(self, path):
        """For floor composed."""
        path.write_text(json.dumps({"modulo": self.modulo, "patient_offset": self.patient_offset, "batches": self.batches},
                                   ensure_ascii=False), encoding="utf-8")

    def write_pgbench(self, path):
        """Writes the script; gives the options that define its constants."""
        lines = ["\\set n random(100000000000000000, 999999999999999999)", f"\\set p random(0, {self.modulo - 1})",
                 f"\\set q :p + {self.patient_offset}"]
        for letter in self.letters.values():
            lines += [f"\\set {letter}{half} random(1000000000000000, 9999999999999999)" for half in "12"]
        options = []
        for batch in self.batches:
            lines.append("\\startpipeline")
            lines += [self._pgbench_sql(statement, options) + ";" for statement in batch]
            lines.append("\\endpipeline")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return options

    def _pgbench_sql(self, statement, options):
        def replace(match):
            value = statement["params"][int(match[1]) - 1]
            if value is None:
                return "NULL"
            if "@" not in value.replace("@@", ""):
                return self._constant(value, options)
            return self._concat(value, options)
        return " ".join(re.sub(r"\$(\d+)\b", replace, statement["sql"]).split())

    @staticmethod
    def _constant(value, options):
        """Defines a variable; gives its name in SQL."""
        options.append(f"--define=value{len(options)}={value.replace('@@', '@')}")
        return f":value{len(options) - 1}"

    def _concat(self, value, options):
        """An SQL expression for a value with tokens."""
        tokens = {"n": [":n::text"], "p": ["lpad(:p::text, 12, '0')"], "q": [":q::text"], "": []}
        parts = []
        for text, token in re.findall(r"((?:[^@]|@@)*)(?:@([A-Ma-q]))?", value):
            if text:
                parts.append(self._constant(text, options) + "::text")
            if token in tokens:
                parts += tokens[token]
            elif token.isupper():
                parts += [_NOW_MS, f":{token}1::text", f"left(:{token}2::text, 4)"]
            else:
                parts += [f":{token}1::text", f":{token}2::text"]
        return "(" + " || ".join(parts) + ")"
