"""SQLite's own logic tests, with a cache of ten pages and several page sizes: `logic.py DIRECTORY`.

What the answers have to be is what this same SQLite answers from memory: the files were made by a later one,
which rounds and words some of them differently."""

import os
import re
import sqlite3
import sys

from harness import connect, equal, sound

# What the shared data has.
FILES_MIN = 17
RECORDS_MIN = 11_195


def records(text):
    """The SQL of the records of a file that are for SQLite."""
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        lines = [line for line in block.split("\n") if not line.startswith("#")]
        while lines and not lines[0].strip():
            lines.pop(0)
        skipped = False
        while lines and lines[0].split()[:1] in (["onlyif"], ["skipif"]):
            condition, engine = lines.pop(0).split()[:2]
            skipped |= (engine == "sqlite") == (condition == "skipif")
        if not lines or skipped:
            continue
        kind = lines[0].split()[0]
        if kind == "halt":
            return
        if kind in ("statement", "query"):
            body = lines[1:]
            end = body.index("----") if "----" in body else len(body)
            yield "\n".join(body[:end])


def answer(connection, sql):
    """The rows, as far as they come, and why no more of them do."""
    rows = []
    try:
        if ";\n" in sql:
            connection.executescript(sql)
        else:
            rows.extend(connection.execute(sql))
    except sqlite3.Error as error:
        rows.append(str(error))
    return rows


def run(connection, path):
    """The number of records."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    with open(path, encoding="utf-8") as file:
        script = list(records(file.read()))
    for sql in script:
        equal(answer(connection, sql), answer(memory, sql), f"{path}: {sql}")
    return len(script)


def main():
    paths = []
    for directory, _, names in os.walk(sys.argv[1]):
        paths += [os.path.join(directory, name) for name in names if name.endswith(".test")]
    assert len(paths) >= FILES_MIN, f"{len(paths)} files"
    for size in (512, 65536):
        total = 0
        for number, path in enumerate(sorted(paths)):
            connection = connect(f"slt-{size}-{number}")
            connection.execute(f"PRAGMA page_size = {size}")
            connection.execute("PRAGMA cache_size = 10")
            connection.execute("PRAGMA synchronous = OFF")
            total += run(connection, path)
            sound(connection)
            connection.close()
        print(f"{total} records of {len(paths)} files at {size}", flush=True)
        # A script of which nothing is understood would pass in silence.
        assert total >= RECORDS_MIN, f"{total} records"
    print("done")


main()
