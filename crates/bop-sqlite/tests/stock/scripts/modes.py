"""Every journal mode, level of `synchronous`, mode of locking and page size; VACUUM and backups."""

import itertools
import sqlite3

from harness import STORE, attach, connect, equal, fails, image, main, one, plain, rows, sound

JOURNALS = ("delete", "truncate", "persist", "memory", "off")


def work(connection, name):
    """The same for every mode: growth, spills, roll-back, schema changes, a smaller file."""
    connection.execute("PRAGMA cache_size = 5")
    connection.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
    rolls_back = one(connection, "PRAGMA journal_mode") != "off" or name == "ours"
    for turn in range(3):
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t(b) VALUES (?)", [(str(n) * 40,) for n in range(200)])
        connection.execute("COMMIT")
        if rolls_back:
            connection.execute("BEGIN")
            connection.execute("UPDATE t SET b = b || b")
            connection.execute("ROLLBACK")
        connection.execute(f"CREATE INDEX i{turn} ON t(b, a)")
    connection.execute("DELETE FROM t WHERE a > 100")
    connection.execute("VACUUM")
    sound(connection)


def test_every_mode_of_the_journal_with_every_synchronous_and_locking():
    synchronous = ("OFF", "NORMAL", "FULL", "EXTRA")
    locking = ("NORMAL", "EXCLUSIVE")
    modes = enumerate(itertools.product(JOURNALS, synchronous, locking))
    for number, (journal, level, lock) in modes:
        # What is stored does not depend on the mode; stock SQLite says what it should be.
        ours, stock = connect(f"mode-{number}"), plain(f"mode-{number}.db")
        for name, connection in (("ours", ours), ("stock", stock)):
            equal(one(connection, f"PRAGMA locking_mode = {lock}"), lock.lower())
            equal(one(connection, f"PRAGMA journal_mode = {journal}"), journal)
            # Stock SQLite writes the same whether it waits for the disk or not.
            connection.execute(f"PRAGMA synchronous = {level if name == 'ours' else 'OFF'}")
            work(connection, name)
        what = f"{journal}, {level}, {lock}"
        equal(rows(ours, "SELECT * FROM t"), rows(stock, "SELECT * FROM t"), what)
        if journal != "off":
            equal(image(ours), image(stock), what)
        ours.close()
        reopened = connect(f"mode-{number}")
        equal(one(reopened, "SELECT count(*) FROM t"), 100, what)
        sound(reopened)


def test_without_a_journal_a_rollback_still_rolls_back():
    for lock in ("NORMAL", "EXCLUSIVE"):
        connection, other = connect(f"off-{lock}"), connect(f"off-{lock}")
        connection.execute(f"PRAGMA locking_mode = {lock}")
        connection.execute("CREATE TABLE t(a, b)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, "x" * 99) for n in range(99)])
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA cache_size = 3")
        connection.execute("BEGIN")
        connection.execute("UPDATE t SET a = -1, b = b || b")
        connection.execute("ROLLBACK")
        equal(one(connection, "SELECT min(a) FROM t"), 0, lock)
        connection.execute("INSERT INTO t VALUES (99, 'after')")
        equal(one(connection, "SELECT count(*) FROM t"), 100, lock)
        equal(one(other, "SELECT count(*) FROM t WHERE a >= 0"), 100, lock)
        sound(connection)


def test_exclusive_locking_keeps_other_writers_out_between_commits():
    owner, other = connect("owner"), connect("owner", timeout=0.05)
    owner.execute("CREATE TABLE t(a)")
    owner.execute("PRAGMA locking_mode = EXCLUSIVE")
    for n in range(20):
        owner.execute("INSERT INTO t VALUES (?)", (n,))
        fails("database is locked", other.execute, "INSERT INTO t VALUES (-1)")
        equal(one(other, "SELECT count(*) FROM t"), n + 1, "reading goes on")
    owner.execute("PRAGMA locking_mode = NORMAL")
    rows(owner, "SELECT * FROM t")
    other.execute("INSERT INTO t VALUES (20)")
    equal(one(owner, "SELECT count(*) FROM t"), 21)


def test_exclusive_locking_keeps_writers_out_from_the_first_read_on():
    for early in (True, False):
        name = f"reader-{early}"
        owner, other = connect(name, timeout=0.05), connect(name, timeout=0.05)
        owner.execute("CREATE TABLE t(a)")
        if early:
            owner.execute("PRAGMA locking_mode = EXCLUSIVE")
        owner.execute("BEGIN")
        equal(one(owner, "SELECT count(*) FROM t"), 0)
        if not early:
            owner.execute("PRAGMA locking_mode = EXCLUSIVE")
        owner.execute("COMMIT")
        fails("database is locked", other.execute, "INSERT INTO t VALUES (-1)")
        equal(one(other, "SELECT count(*) FROM t"), 0, "reading goes on")
        # Nor does a change of the journal let anybody in.
        owner.execute("PRAGMA journal_mode = TRUNCATE")
        owner.execute("PRAGMA journal_mode = DELETE")
        owner.execute("BEGIN IMMEDIATE")
        owner.execute("ROLLBACK")
        fails("database is locked", other.execute, "INSERT INTO t VALUES (-1)")
        owner.execute("INSERT INTO t VALUES (1)")
        equal(one(other, "SELECT count(*) FROM t"), 1)
        # Another one that wants it waits for its turn.
        second = connect(name, timeout=0.05)
        second.execute("PRAGMA locking_mode = EXCLUSIVE")
        fails("database is locked", second.execute, "SELECT * FROM t")
        owner.execute("PRAGMA locking_mode = NORMAL")
        equal(one(owner, "SELECT count(*) FROM t"), 1)
        equal(one(second, "SELECT count(*) FROM t"), 1)
        fails("database is locked", owner.execute, "INSERT INTO t VALUES (2)")
        second.close()
        owner.execute("INSERT INTO t VALUES (2)")
        other.execute("INSERT INTO t VALUES (3)")
        equal(one(owner, "SELECT count(*) FROM t"), 3)


def test_exclusive_locking_of_the_main_database_is_that_of_those_attached_before_and_later():
    for name in ("lock-a", "lock-b", "lock-c"):
        connect(name).execute("CREATE TABLE t(a)")
    owner = connect("lock-a")
    attach(owner, "lock-b", "b")
    owner.execute("PRAGMA locking_mode = EXCLUSIVE")
    attach(owner, "lock-c", "c")
    for schema, name in (("b", "lock-b"), ("c", "lock-c")):
        equal(one(owner, f"SELECT count(*) FROM {schema}.t"), 0)
        other = connect(name, timeout=0.05)
        fails("database is locked", other.execute, "INSERT INTO t VALUES (1)")
        owner.execute(f"INSERT INTO {schema}.t VALUES (2)")
        equal(rows(other, "SELECT * FROM t"), [(2,)])
    owner.execute("PRAGMA c.locking_mode = NORMAL")
    owner.execute("SELECT * FROM c.t").fetchall()
    connect("lock-c").execute("INSERT INTO t VALUES (3)")
    equal(one(owner, "SELECT count(*) FROM c.t"), 2)


def test_exclusive_locking_of_the_main_database_is_that_of_another_stores():
    second = f"{STORE}-2"
    for store in (STORE, second):
        connect("lock-both", store=store).execute("CREATE TABLE t(a)")
    owner = connect("lock-both")
    owner.execute(f"ATTACH 'file:lock-both?vfs=bop&store={second}' AS b")
    owner.execute("PRAGMA locking_mode = EXCLUSIVE")
    for schema, store in (("b", second), ("main", STORE)):
        equal(one(owner, f"SELECT count(*) FROM {schema}.t"), 0)
        other = connect("lock-both", store=store, timeout=0.05)
        fails("database is locked", other.execute, "INSERT INTO t VALUES (1)")
    # To read both is no reason to refuse a transaction that writes to one of them.
    owner.execute("INSERT INTO b.t VALUES (2)")
    equal(one(owner, "SELECT count(*) FROM b.t"), 1)


def test_a_state_that_is_old_already_cannot_be_locked():
    owner, other = connect("old"), connect("old")
    owner.execute("CREATE TABLE t(a)")
    owner.execute("BEGIN")
    rows(owner, "SELECT * FROM t")
    other.execute("INSERT INTO t VALUES (1)")
    fails("lsn", owner.execute, "PRAGMA locking_mode = EXCLUSIVE")
    owner.execute("COMMIT")
    equal(one(owner, "SELECT count(*) FROM t"), 1)
    owner.execute("PRAGMA locking_mode = EXCLUSIVE")
    owner.execute("INSERT INTO t VALUES (2)")
    equal(one(other, "SELECT count(*) FROM t"), 2)


def test_a_wal_is_refused_quietly():
    for lock in ("NORMAL", "EXCLUSIVE"):
        connection = connect(f"wal-{lock}")
        connection.execute(f"PRAGMA locking_mode = {lock}")
        connection.execute("CREATE TABLE t(a)")
        equal(one(connection, "PRAGMA journal_mode = WAL"), "delete", lock)
        equal(one(connection, "PRAGMA journal_mode = TRUNCATE"), "truncate", lock)
        equal(one(connection, "PRAGMA journal_mode = WAL"), "truncate", lock)
        connection.execute("INSERT INTO t VALUES (1)")
        equal(one(connection, "SELECT count(*) FROM t"), 1, lock)


def test_page_sizes_and_auto_vacuum_are_those_of_the_first_commit():
    for size in (512, 1024, 4096, 65536):
        for vacuum in (0, 1, 2):
            ours = connect(f"size-{size}-{vacuum}")
            stock = plain(f"size-{size}-{vacuum}.db")
            for connection in (ours, stock):
                connection.execute(f"PRAGMA page_size = {size}")
                connection.execute(f"PRAGMA auto_vacuum = {vacuum}")
                connection.execute("PRAGMA encoding = 'UTF-16le'")
                connection.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
                connection.execute("PRAGMA cache_size = 4")
                values = [("y" * (n % 700),) for n in range(800)]
                connection.executemany("INSERT INTO t(b) VALUES (?)", values[:50])
                connection.execute("BEGIN")
                connection.executemany("INSERT INTO t(b) VALUES (?)", values)
                connection.execute("COMMIT")
                connection.execute("DELETE FROM t WHERE a % 4 > 0")
                connection.execute("PRAGMA incremental_vacuum(7)")
                sound(connection)
            equal(one(ours, "PRAGMA page_size"), size)
            equal(image(ours), image(stock), f"{size}, auto_vacuum {vacuum}")
            # SQLite would write a file of another size; ours stays as it is.
            other = 1024 if size != 1024 else 2048
            ours.execute(f"PRAGMA page_size = {other}")
            ours.execute("VACUUM")
            equal(one(ours, "PRAGMA page_size"), size)
            sound(connect(f"size-{size}-{vacuum}"))


def test_vacuum_into_leads_in_and_out():
    source = plain("vacuum-source.db")
    source.execute("PRAGMA page_size = 1024")
    source.execute("CREATE TABLE t AS SELECT 7 AS x")
    source.execute("PRAGMA journal_mode = WAL")
    uri = f"file:vacuumed?vfs=bop&store={STORE}"
    source_by_uri = sqlite3.connect(
        f"file:{rows(source, 'PRAGMA database_list')[0][2]}", uri=True, isolation_level=None
    )
    source_by_uri.execute("VACUUM INTO ?", (uri,))
    ours = connect("vacuumed")
    equal(one(ours, "SELECT x FROM t"), 7)
    path = rows(source, "PRAGMA database_list")[0][2] + "-back"
    ours.execute("VACUUM INTO ?", (path,))
    equal(rows(sqlite3.connect(path), "SELECT x FROM t"), [(7,)])
    sound(ours)


def test_backups_lead_in_and_out_and_see_other_commits():
    source = plain("backup-source.db")
    source.execute("PRAGMA journal_mode = WAL")
    source.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
    source.executemany("INSERT INTO t(b) VALUES (?)", [("z" * 500,) for _ in range(500)])
    ours = connect("backup")
    source.backup(ours, pages=7)
    equal(image(ours), image(source))
    # The source is in WAL mode, and so says page 1 of the copy: nobody believes it.
    ours.execute("INSERT INTO t(b) VALUES ('more')")
    equal(one(connect("backup"), "SELECT count(*) FROM t"), 501)
    sound(ours)
    out, writer = plain("backup-out.db"), connect("backup")
    turns = []

    def progress(status, remaining, total):
        turns.append(remaining)
        if len(turns) == 3:
            writer.execute("INSERT INTO t(b) VALUES ('meanwhile')")

    ours.backup(out, pages=20, progress=progress)
    equal(one(out, "SELECT count(*) FROM t"), 502)
    assert any(after >= before for before, after in zip(turns, turns[1:])), "it began anew"
    sound(out)


main(globals())
