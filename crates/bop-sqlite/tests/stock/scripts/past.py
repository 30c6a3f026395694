"""States of the past, the pragmas of a store, names, and processes."""

import os
import sqlite3
import subprocess
import sys

from harness import EXTENSION, FILES, STORE, connect, equal, fails, loader, main, one, reason, rows


def test_snapshots_forks_and_restore_points():
    ours = connect("orders")
    ours.execute("CREATE TABLE t(x)")
    ours.execute("INSERT INTO t VALUES (1)")
    equal(one(ours, "PRAGMA bop_snapshot = 'before'"), "orders@snapshot:before")
    ours.execute("DELETE FROM t")
    past = connect("orders@snapshot:before")
    equal(one(past, "SELECT x FROM t"), 1)
    fails("readonly", past.execute, "INSERT INTO t VALUES (2)")
    past.execute("CREATE TEMP TABLE u AS SELECT * FROM t")
    # Whatever is committed meanwhile, it stays as it is.
    ours.execute("INSERT INTO t VALUES (3)")
    equal(rows(past, "SELECT x FROM t"), [(1,)])
    points = one(ours, "PRAGMA bop_restore_points").splitlines()
    newest = points[0].split()
    equal(one(ours, "PRAGMA bop_restore_points = 2").splitlines(), points[:2])
    for point in newest[:2]:
        equal(rows(connect(f"orders@{point}"), "SELECT x FROM t"), [(3,)], point)
    equal(one(ours, "PRAGMA bop_fork = 'trial@snapshot:before'"), "trial")
    equal(rows(connect("trial"), "SELECT x FROM t"), [(1,)])
    equal(one(past, "PRAGMA bop_fork = 'second'"), "second")
    equal(rows(connect("second"), "SELECT x FROM t"), [(1,)])
    equal(one(ours, "PRAGMA bop_fork('third')"), "third")
    equal(rows(connect("third"), "SELECT x FROM t"), [(3,)])
    status = one(ours, "PRAGMA bop_status")
    for words in (f"store: {os.path.realpath(STORE)}", "database: orders", "snapshots: 1", "health: Ok"):
        assert words in status, status


def test_pragmas_that_cannot_be_answered_say_why():
    ours = connect("pragmas")
    ours.execute("CREATE TABLE t(x)")
    fails("needs a name", ours.execute, "PRAGMA bop_snapshot")
    fails("takes no argument", ours.execute, "PRAGMA bop_status = 1")
    fails("takes a number", ours.execute, "PRAGMA bop_restore_points = 'all'")
    fails("nowhere", ours.execute, "PRAGMA bop_fork = 'x@snapshot:nowhere'")
    ours.execute("PRAGMA bop_snapshot = 's'")
    fails("already", ours.execute, "PRAGMA bop_snapshot = 's'")
    ours.execute("BEGIN IMMEDIATE")
    fails("commit first", ours.execute, "PRAGMA bop_snapshot = 'u'")
    ours.execute("ROLLBACK")


def test_what_cannot_be_opened_says_why():
    connect("there").execute("CREATE TABLE t(x)")
    cases = {
        f"file:a/b?vfs=bop&store={STORE}": "name",
        f"file:there@yesterday?vfs=bop&store={STORE}": "yesterday",
        f"file:there@snapshot:none?vfs=bop&store={STORE}": "none",
        f"file:missing?vfs=bop&store={STORE}&mode=rw": "missing",
        f"file:missing?vfs=bop&store={STORE}&mode=ro": "missing",
        f"file:there?vfs=bop&store={STORE}&immutable=1": "immutable",
        f"file:there?vfs=bop&store={STORE}&nolock=1": "nolock",
        f"file:there?vfs=bop&store={STORE}&cache=shared": "cache=shared",
        f"file:x?vfs=bop&store={EXTENSION}.so": "libbop_sqlite",
    }
    for uri, words in cases.items():
        fails("", sqlite3.connect, uri, 5, 0, None, True, sqlite3.Connection, 128, True)
        assert words in reason(), uri
    equal(rows(connect("there"), "SELECT * FROM t"), [])


def test_a_name_finds_its_store_by_path_and_by_the_environment():
    connect("named").execute("CREATE TABLE t AS SELECT 5 AS x")
    by_path = sqlite3.connect(f"file:{STORE}/named?vfs=bop", uri=True)
    equal(one(by_path, "SELECT x FROM t"), 5)
    # One store is open, so a bare name is in it; a path that is no store's is a file.
    equal(one(sqlite3.connect("file:named?vfs=bop", uri=True), "SELECT x FROM t"), 5)
    path = os.path.join(FILES, "by-vfs.db")
    sqlite3.connect(f"file:{path}?vfs=bop", uri=True).execute("CREATE TABLE t(x)")
    assert os.path.getsize(path) > 0


def test_a_store_is_found_whatever_its_directory_is_called():
    for place in ("u@h", "u@lsn:8"):
        store = os.path.join(FILES, place, "store")
        os.makedirs(os.path.dirname(store))
        made = connect("app", store=store)
        made.execute("CREATE TABLE t AS SELECT 5 AS x")
        # The directory of an open store is found without a look at it.
        made.close()
        for name in (f"{store}/app", f"{store}/app@time:2100-01-01T00:00:00Z", f"{store}/app@snapshot:a/b"):
            try:
                found = sqlite3.connect(f"file:{name}?vfs=bop", uri=True)
                equal(one(found, "SELECT x FROM t"), 5, name)
                found.close()
            except sqlite3.Error:
                assert "snapshot" in name and "a/b" in reason(), (name, reason())
        assert not os.path.exists(f"{store}/app")


def directory_of(path_bytes):
    """A directory whose path has so many bytes."""
    path = os.path.realpath(FILES)
    while path_bytes - len(path) > 201:
        path = os.path.join(path, "d" * 100)
    path = os.path.join(path, "e" * (path_bytes - len(path) - 1))
    os.makedirs(path, exist_ok=True)
    return path


def test_a_name_is_as_long_as_sqlite_takes_it_and_no_longer():
    # SQLite copies a journal's name into 513 bytes, and reads that of a super-journal into a page and 8 bytes.
    for vfs in ("unix", "bop"):
        path = f"{directory_of(590)}/plain.db"
        fails("unable to open", sqlite3.connect, f"file:{path}?vfs={vfs}", 5, 0, None, True, sqlite3.Connection, 128, True)
        path = f"{directory_of(490)}/plain.db"
        connection = sqlite3.connect(f"file:{path}?vfs={vfs}", uri=True)
        connection.execute("CREATE TABLE IF NOT EXISTS t(x)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()
    longest = os.path.join(directory_of(490), "store")
    ours = connect("abc", store=longest)
    ours.execute("PRAGMA page_size = 512")
    ours.execute(f"ATTACH 'file:b?vfs=bop&store={longest}' AS b")
    for schema in ("main", "b"):
        ours.execute(f"CREATE TABLE {schema}.t(x)")
    ours.execute("BEGIN")
    for schema in ("main", "b"):
        ours.execute(f"INSERT INTO {schema}.t VALUES (1)")
    ours.execute("COMMIT")
    equal(rows(ours, "SELECT * FROM b.t"), [(1,)])
    fails("unable to open", connect, "abcd", longest)
    assert "501 bytes" in reason() and "500" in reason(), reason()


CHILD = """
import os, sqlite3, sys
loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
{load}
connection = sqlite3.connect({name!r})
connection.execute("CREATE TABLE IF NOT EXISTS t(x)")
connection.execute("INSERT INTO t VALUES (1)")
connection.commit()
print(connection.execute("SELECT count(*) FROM t").fetchone()[0])
"""


def child(load, name, **environment):
    program = CHILD.format(load=load, name=name)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        cwd=FILES,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_as_the_default_vfs_names_and_paths_need_no_uri():
    plain_load = f"loader.load_extension({EXTENSION!r})"
    by_entry = f"loader.execute(\"SELECT load_extension('{EXTENSION}', 'sqlite3_bopdefault_init')\")"
    store = f"{STORE}-default"
    equal(child(plain_load, "app", BOP_STORE=store, BOP_DEFAULT_VFS="1"), "1")
    equal(child(by_entry, "app", BOP_STORE=store), "2")
    equal(child(by_entry, f"{store}/app"), "3")
    # A name without a store, and a path, are files as ever.
    equal(child(by_entry, "a-plain-file"), "1")
    equal(child(by_entry, os.path.join(FILES, "a-plain-file")), "2")
    assert os.path.getsize(os.path.join(FILES, "a-plain-file")) > 0
    equal(child(plain_load, "another-file", BOP_STORE=store), "1")


def test_a_second_process_is_told_who_has_the_store():
    connection = connect("held")
    connection.execute("CREATE TABLE t(x)")
    program = (
        "import sqlite3\n"
        "loader = sqlite3.connect(':memory:')\n"
        "loader.enable_load_extension(True)\n"
        f"loader.load_extension({EXTENSION!r})\n"
        f"try: sqlite3.connect('file:held?vfs=bop&store={STORE}', uri=True)\n"
        "except sqlite3.Error: print(loader.execute('SELECT bop_last_error()').fetchone()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert str(os.getpid()) in done.stdout, (done.stdout, done.stderr)


def test_a_forked_child_gets_an_error_and_takes_nothing_with_it():
    connection = connect("forked")
    connection.execute("CREATE TABLE t(x)")
    reader = connect("forked")
    reader.execute("BEGIN")
    rows(reader, "SELECT * FROM t")
    child_process = os.fork()
    if child_process == 0:
        failed = 0
        for call in (
            lambda: one(connection, "SELECT count(*) FROM t"),
            lambda: connection.execute("INSERT INTO t VALUES (1)"),
            lambda: one(reader, "SELECT count(*) FROM sqlite_schema WHERE name > 'a'"),
            lambda: connect("forked"),
        ):
            try:
                call()
            except sqlite3.Error:
                failed += 1
        connection.close()
        # What SQLite has in its cache it may still answer.
        os._exit(0 if failed >= 3 else 1)
    equal(os.waitpid(child_process, 0)[1], 0, "the child's exit status")
    connection.execute("INSERT INTO t VALUES (2)")
    equal(rows(connection, "SELECT * FROM t"), [(2,)])


def test_the_store_is_free_when_its_last_connection_is_closed():
    store = f"{STORE}-closed"
    first, second = connect("a", store=store), connect("b", store=store)
    first.execute("PRAGMA synchronous = OFF")
    first.execute("CREATE TABLE t AS SELECT 7 AS x")
    first.close()
    second.close()
    program = (
        "import sqlite3\n"
        "loader = sqlite3.connect(':memory:')\n"
        "loader.enable_load_extension(True)\n"
        f"loader.load_extension({EXTENSION!r})\n"
        f"print(sqlite3.connect('file:a?vfs=bop&store={store}', uri=True).execute('SELECT x FROM t').fetchone()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    equal(done.stdout.strip(), "7", done.stderr)


main(globals())
