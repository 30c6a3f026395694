"""A database that may have a mebibyte."""

from harness import connect, equal, fails, main, one, reason, sound


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


main(globals())
