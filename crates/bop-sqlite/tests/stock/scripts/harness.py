"""What the scripts share: Python's own sqlite3 with the extension loaded, and a store of their own."""

import os
import random
import sqlite3
import sys

EXTENSION = os.environ["BOP_EXTENSION"]
STORE = os.environ["BOP_TEST_STORE"]
FILES = os.environ["BOP_TEST_FILES"]

loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
loader.load_extension(EXTENSION)


def connect(name, store=STORE, timeout=20, **options):
    """A connection in autocommit mode to a database of the store."""
    uri = f"file:{name}?vfs=bop&store={store}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=timeout, **options)


def attach(connection, name, alias):
    connection.execute(f"ATTACH 'file:{name}?vfs=bop&store={STORE}' AS {alias}")


def plain(name, **options):
    """A connection to a plain file."""
    path = os.path.join(FILES, name)
    return sqlite3.connect(path, isolation_level=None, **options)


def one(connection, sql, *values):
    return connection.execute(sql, values).fetchone()[0]


def rows(connection, sql, *values):
    return connection.execute(sql, values).fetchall()


def equal(found, wanted, what=""):
    if isinstance(found, bytes) and found != wanted:
        places = [n for n, (a, b) in enumerate(zip(found, wanted)) if a != b]
        sizes = f"{len(found)} bytes, wanted {len(wanted)}"
        raise AssertionError(f"{what}: {sizes}, differing at {places[:20]}")
    if found != wanted:
        raise AssertionError(f"{what}: found {found!r:.500}, wanted {wanted!r:.500}")


def sound(connection):
    equal(rows(connection, "PRAGMA integrity_check"), [("ok",)], "integrity_check")


def fails(words, call, *arguments):
    """The call fails with a message that has `words` in it."""
    try:
        call(*arguments)
    except sqlite3.Error as error:
        if words not in str(error):
            raise AssertionError(f"failed with {error}, wanted {words!r}") from error
        return str(error)
    raise AssertionError(f"did not fail with {words!r}")


def reason():
    """Why the newest failure of this thread happened."""
    return one(loader, "SELECT bop_last_error()")


def seed():
    """A seed that is told, and can be given again."""
    told = int(os.environ.get("BOP_SEED") or random.randrange(1 << 32))
    print(f"seed: BOP_SEED={told}", flush=True)
    return told


def image(connection):
    """The database's bytes without those that depend on who wrote them: fields of the header, and what is
    left in free pages. SQLite does not put that into its journal, so a file has in them what was rolled
    back."""
    content = bytearray(connection.serialize())
    for start, end in ((18, 20), (24, 28), (92, 100)):
        content[start:end] = bytes(end - start)

    def number(place):
        return int.from_bytes(content[place : place + 4], "big")

    size = int.from_bytes(content[16:18], "big")
    size = 65536 if size == 1 else size
    trunk = number(32)
    while trunk:
        start = (trunk - 1) * size
        trunk, leaves = number(start), number(start + 4)
        listed = start + 8 + 4 * leaves
        for leaf in range(start + 8, listed, 4):
            free = (number(leaf) - 1) * size
            content[free : free + size] = bytes(size)
        content[listed : start + size] = bytes(start + size - listed)
    return bytes(content)


def main(tests):
    """Runs the functions whose names begin with `test_`."""
    for name, test in sorted(tests.items()):
        if name.startswith("test_"):
            print(name, flush=True)
            test()
    print("done", flush=True)
    sys.stdout.flush()
