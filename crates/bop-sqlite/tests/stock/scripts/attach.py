"""Transactions over several databases of a store, and what may not be one."""

import resource
import signal
import sqlite3
import threading

from harness import STORE, attach, connect, equal, fails, main, one, plain, reason, rows, sound

JOURNALS = ("delete", "truncate", "persist", "memory", "off")


def state(connection, schema="main"):
    """The commit that a database shows."""
    status = one(connection, f"PRAGMA {schema}.bop_status")
    return next(line for line in status.splitlines() if line.startswith("state: "))


def pair(first, second):
    for name in (first, second):
        connect(name).execute("CREATE TABLE t(x)")
    connection = connect(first)
    attach(connection, second, "b")
    return connection


def test_a_transaction_over_two_is_one_commit_in_every_journal_mode():
    for journal in JOURNALS:
        for synchronous in ("OFF", "FULL"):
            a, b = f"one-{journal}-{synchronous}", f"two-{journal}-{synchronous}"
            connection = pair(a, b)
            for schema in ("main", "b"):
                connection.execute(f"PRAGMA {schema}.journal_mode = {journal}")
                connection.execute(f"PRAGMA {schema}.synchronous = {synchronous}")
            what = f"{journal}, {synchronous}"
            connection.execute("BEGIN")
            connection.execute("INSERT INTO main.t VALUES (1)")
            connection.execute("INSERT INTO b.t VALUES (1)")
            other = connect(a), connect(b)
            equal([one(each, "SELECT count(*) FROM t") for each in other], [0, 0], what)
            connection.execute("COMMIT")
            equal([one(each, "SELECT count(*) FROM t") for each in other], [1, 1], what)
            equal(state(other[0]), state(other[1]), f"{what}: the same commit")
            connection.execute("BEGIN")
            connection.execute("INSERT INTO main.t VALUES (2)")
            connection.execute("DELETE FROM b.t")
            connection.execute("ROLLBACK")
            equal([one(each, "SELECT count(*) FROM t") for each in other], [1, 1], what)
            # The cache is still right.
            equal(one(connection, "SELECT count(*) FROM b.t"), 1, what)


def test_a_vacuum_beside_and_a_smaller_file_in_a_group():
    connection = pair("shrink-a", "shrink-b")
    for schema in ("main", "b"):
        connection.execute(f"PRAGMA {schema}.auto_vacuum = 1")
        connection.execute(f"VACUUM {schema}")
        connection.execute(f"INSERT INTO {schema}.t SELECT zeroblob(500000)")
    connection.execute("BEGIN")
    connection.execute("DELETE FROM main.t")
    connection.execute("DELETE FROM b.t")
    connection.execute("COMMIT")
    for schema, name in (("main", "shrink-a"), ("b", "shrink-b")):
        pages = one(connection, f"PRAGMA {schema}.page_count")
        assert pages < 10, f"{name} has {pages} pages"
        other = connect(name)
        equal(one(other, "PRAGMA page_count"), pages)
        told = one(other, "PRAGMA bop_status")
        assert f"pages: {pages}\n" in told, told
        sound(other)


def test_databases_in_memory_do_not_keep_a_transaction_from_being_atomic():
    for name in ("mem-a", "mem-b"):
        connect(name).execute("CREATE TABLE t(x)")
    connection = sqlite3.connect("file::memory:", uri=True, isolation_level=None)
    attach(connection, "mem-a", "a")
    attach(connection, "mem-b", "b")
    connection.execute("CREATE TABLE t(x)")
    connection.execute("BEGIN")
    for schema in ("main", "a", "b"):
        connection.execute(f"INSERT INTO {schema}.t VALUES (1)")
    connection.execute("COMMIT")
    equal(state(connect("mem-a")), state(connect("mem-b")), "the same commit")


def reason_of(connection):
    """Why the newest failure of this thread happened."""
    return one(connection, "SELECT bop_last_error()")


def counts(connection, *tables):
    return [one(connection, f"SELECT count(*) FROM {table}") for table in tables]


def test_what_could_not_be_atomic_is_refused_and_nothing_of_it_is_done():
    for name in ("refused-a", "refused-b"):
        connect(name).execute("CREATE TABLE t(x)")
    file = plain("refused.db")
    file.execute("CREATE TABLE t(x)")
    path = rows(file, "PRAGMA database_list")[0][2]
    # A plain file is the main database, a store's databases are written.
    from_file = plain("refused.db", uri=True)
    attach(from_file, "refused-a", "a")
    attach(from_file, "refused-b", "b")
    from_file.execute("INSERT INTO a.t SELECT 1")
    # A store's database is the main one.
    from_store = connect("refused-a")
    from_store.execute(f"ATTACH '{path}' AS f")
    from_unix = connect("refused-a")
    from_unix.execute(f"ATTACH 'file:{path}?vfs=unix' AS f")
    cases = [
        (from_file, ("a.t", "b.t")),
        (from_file, ("main.t", "b.t")),
        (from_store, ("main.t", "f.t")),
        (from_unix, ("main.t", "f.t")),
    ]
    for connection, tables in cases:
        before = counts(connection, *tables)
        connection.execute("BEGIN")
        for table in tables:
            connection.execute(f"INSERT INTO {table} VALUES (9)")
        fails("access permission denied", connection.execute, "COMMIT")
        assert "could not be atomic" in reason(), tables
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        equal(counts(connection, *tables), before, "nothing is done")
        for table in tables:
            connection.execute(f"INSERT INTO {table} VALUES (1)")
        equal(counts(connection, *tables), [n + 1 for n in before], "each by itself")
        for table in tables:
            connection.execute(f"DELETE FROM {table} WHERE rowid > ?", (before[tables.index(table)],))
    other = connect("beside", store=f"{STORE}-2")
    other.execute("CREATE TABLE t(x)")
    from_store.execute(f"ATTACH 'file:beside?vfs=bop&store={STORE}-2' AS o")
    from_store.execute("BEGIN")
    from_store.execute("INSERT INTO o.t VALUES (1)")
    fails("access permission denied", from_store.execute, "INSERT INTO main.t VALUES (1)")
    assert "two stores" in reason()
    from_store.execute("ROLLBACK")


def test_what_was_rolled_back_without_a_journal_is_not_in_a_later_commit():
    for name in ("stale-a", "stale-b"):
        connect(name).execute("CREATE TABLE t(x)")
    file = plain("stale.db")
    file.execute("CREATE TABLE t(x)")
    path = rows(file, "PRAGMA database_list")[0][2]
    file.close()
    connection = connect("stale-a")
    attach(connection, "stale-b", "b")
    connection.execute(f"ATTACH '{path}' AS f")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA main.journal_mode = OFF")
    connection.execute("PRAGMA b.journal_mode = OFF")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO main.t VALUES (9)")
    connection.execute("INSERT INTO f.t VALUES (zeroblob(300000))")
    # The file cannot grow: the first phase of its commit fails, behind that of the database.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100000, before[1]))
    fails("", connection.execute, "COMMIT")
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not connection.in_transaction
    connection.execute("INSERT INTO b.t VALUES (1)")
    equal(one(connect("stale-a"), "SELECT count(*) FROM t"), 0, "nothing of it is committed")
    equal(one(connect("stale-b"), "SELECT count(*) FROM t"), 1)
    equal(counts(connection, "main.t", "b.t", "f.t"), [0, 1, 0])
    connection.execute("INSERT INTO main.t VALUES (1)")
    equal(one(connect("stale-a"), "SELECT x FROM t"), 1)


def test_of_two_that_wait_for_each_other_one_is_told_at_once():
    pair("circle-a", "circle-b").close()
    both_hold, ends = threading.Barrier(2), {}

    def work(own, other):
        try:
            # Whoever is not told waits for the other one, for as long as that takes.
            connection = connect(own, timeout=600)
            attach(connection, other, "o")
            connection.execute("BEGIN")
            connection.execute("INSERT INTO main.t VALUES (1)")
            both_hold.wait()
            try:
                connection.execute("INSERT INTO o.t VALUES (1)")
                connection.execute("COMMIT")
                ends[own] = "committed"
            except sqlite3.Error as error:
                ends[own] = f"{error}: {reason_of(connection)}"
                connection.execute("ROLLBACK")
            connection.close()
        except BaseException as error:
            ends[own] = f"broken: {error!r}"

    threads = [
        threading.Thread(target=work, args=names)
        for names in (("circle-a", "circle-b"), ("circle-b", "circle-a"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    committed, told = sorted(ends.values(), reverse=True, key=lambda end: end == "committed")
    equal(committed, "committed", ends)
    assert told.startswith("database table is locked: deadlock"), ends
    equal([one(connect(name), "SELECT count(*) FROM t") for name in ("circle-a", "circle-b")], [1, 1])


main(globals())
