#!/usr/bin/python3
"""Writes the migration files as C source: number, name, SHA-256 and text of each, in the order of their numbers."""

import hashlib
import pathlib
import re
import sys


def c_bytes(data):
    values = [str(byte) for byte in data + b"\0"]
    return ",\n    ".join(", ".join(values[i:i + 24]) for i in range(0, len(values), 24))


def main(output, paths):
    migrations = []
    for path in sorted(map(pathlib.Path, paths), key=lambda path: path.name):
        match = re.fullmatch(r"(\d{4})_([a-z0-9_]+)\.sql", path.name)
        if not match or int(match[1]) != len(migrations) + 1:
            sys.exit(f"{path.name}: migrations are named NNNN_name.sql and numbered without gaps from 0001")
        migrations.append((int(match[1]), match[2], path.read_bytes()))

    lines = ['#include "server/database/migrate.h"', ""]
    for number, _, data in migrations:
        lines.append(f"static const char sql_{number}[] = {{\n    {c_bytes(data)}}};\n")
    lines.append("const Migration migrations[] = {")
    for number, name, data in migrations:
        lines.append(f'    {{{number}, "{name}", "{hashlib.sha256(data).hexdigest()}", sql_{number}}},')
    lines += ["};", f"const size_t migration_count = {len(migrations)};", ""]
    pathlib.Path(output).write_text("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
