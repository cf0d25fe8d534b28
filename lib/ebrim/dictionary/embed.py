#!/usr/bin/python3
"""Writes a zstd dictionary as a C array: embed.py DICTIONARY OUTPUT."""

import sys


def main():
    with open(sys.argv[1], "rb") as f:
        data = f.read()
    rows = [", ".join(map(str, data[i:i + 32])) for i in range(0, len(data), 32)]
    with open(sys.argv[2], "w", encoding="ascii") as f:
        f.write("#include <stddef.h>\n\n"
                "extern const unsigned char metadata_dictionary[];\n"
                "extern const size_t metadata_dictionary_size;\n\n"
                "const unsigned char metadata_dictionary[] = {\n    %s};\n"
                "const size_t metadata_dictionary_size = %d;\n" % (",\n    ".join(rows), len(data)))


if __name__ == "__main__":
    main()
