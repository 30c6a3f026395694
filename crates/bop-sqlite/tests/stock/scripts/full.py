"""A database that may have a mebibyte."""

from harness import attach, connect, equal, fails, main, one, reason, sound


def test_a_transaction_that_is_too_large_is_refused_and_a_smaller_one_is_not():
    for journal in ("delete", "persist", "memory", "off"):
        for lock in ("NORMAL", "EXCLUSIVE"):
            connection, other = connect("app"), connect("app")
            connection.execute(f"PRAGMA locking_mode = {lock}")
            connection.execute(f"PRAGMA journal_mode = {journal}")
            connection.execute("PRAGMA cache_size = 5")
            connection.execute("CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)")
            connection.execute("DELETE FROM t")
            connection.execute("INSERT INTO t(b) VALUES ('first')")
            message = fails("full", connection.execute, "INSERT INTO t(b) SELECT zeroblob(3000000)")
            assert "quota" in reason(), (message, journal)
            for each in (connection, other):
                equal(one(each, "SELECT group_concat(b) FROM t"), "first", f"{journal}, {lock}")
            connection.execute("BEGIN")
            connection.execute("INSERT INTO t(b) VALUES ('second')")
            fails("full", lambda: (
                connection.execute("INSERT INTO t(b) SELECT zeroblob(3000000)"),
                connection.execute("COMMIT"),
            ))
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("INSERT INTO t(b) VALUES ('third')")
            for each in (connection, other):
                equal(one(each, "SELECT group_concat(b) FROM t"), "first,third", f"{journal}, {lock}")
            sound(connection)
            connection.close()
            other.close()


def group(journal, lock):
    what = f"{journal}, {lock}"
    connection = connect("beside")
    attach(connection, "app", "b")
    for db in ("main", "b"):
        connection.execute(f"PRAGMA {db}.locking_mode = {lock}")
        connection.execute(f"PRAGMA {db}.journal_mode = {journal}")
        connection.execute(f"DROP TABLE IF EXISTS {db}.u")
        connection.execute(f"CREATE TABLE {db}.u(x)")
        connection.execute(f"INSERT INTO {db}.u VALUES ('first')")
    connection.execute("BEGIN")
    connection.execute("UPDATE main.u SET x = 'changed'")
    connection.execute("INSERT INTO main.u VALUES (zeroblob(100000))")
    connection.execute("UPDATE b.u SET x = 'changed'")
    connection.execute("INSERT INTO b.u SELECT zeroblob(3000000)")
    fails("full", connection.execute, "COMMIT")
    assert "quota" in reason(), what
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    for db, name in (("main", "beside"), ("b", "app")):
        for each, table in ((connection, f"{db}.u"), (connect(name), "u")):
            equal(one(each, f"SELECT group_concat(x) FROM {table}"), "first", f"{what}, {db}")
    connection.execute("BEGIN")
    for db in ("main", "b"):
        connection.execute(f"INSERT INTO {db}.u VALUES ('second')")
    connection.execute("COMMIT")
    for name in ("beside", "app"):
        equal(one(connect(name), "SELECT group_concat(x) FROM u"), "first,second", what)
        sound(connect(name))
    connection.close()


def test_a_group_that_is_too_large_leaves_every_member_and_every_cache_as_it_was():
    for journal in ("delete", "truncate", "persist", "memory", "off"):
        for lock in ("NORMAL", "EXCLUSIVE"):
            group(journal, lock)


main(globals())
