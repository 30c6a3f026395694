"""Transactions of one and of several connections."""

import threading

from harness import attach, connect, equal, fails, image, main, one, plain, rows, sound


def fill(connection, count, bytes_each=100):
    connection.execute("CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO t(b) VALUES (?)", [("x" * bytes_each,)] * count)
    connection.execute("COMMIT")


def test_readers_keep_their_state_while_a_writer_commits():
    writer, reader = connect("readers"), connect("readers")
    fill(writer, 10)
    reader.execute("BEGIN")
    equal(one(reader, "SELECT count(*) FROM t"), 10)
    fill(writer, 10)
    equal(one(reader, "SELECT count(*) FROM t"), 10, "a pinned snapshot")
    fails("database is locked", reader.execute, "DELETE FROM t")
    reader.execute("COMMIT")
    equal(one(reader, "SELECT count(*) FROM t"), 20)


def test_one_writer_at_a_time_and_the_second_is_busy():
    first, second = connect("busy"), connect("busy", timeout=0.05)
    fill(first, 1)
    first.execute("BEGIN IMMEDIATE")
    fails("database is locked", second.execute, "BEGIN IMMEDIATE")
    equal(one(second, "SELECT count(*) FROM t"), 1, "reading goes on")
    first.execute("INSERT INTO t(b) VALUES (1)")
    equal(one(second, "SELECT count(*) FROM t"), 1, "nothing is seen before the commit")
    first.execute("COMMIT")
    second.execute("BEGIN IMMEDIATE")
    equal(one(second, "SELECT count(*) FROM t"), 2)
    second.execute("ROLLBACK")


def test_savepoints_that_spill_go_back_to_what_was():
    # A cache of a few pages: most of a transaction is in the overlay, and is read back from there.
    ours, stock = connect("savepoints"), plain("savepoints.db")
    for connection in (ours, stock):
        connection.execute("PRAGMA cache_size = 5")
        fill(connection, 300)
        connection.execute("BEGIN")
        connection.execute("UPDATE t SET b = b || 'one'")
        connection.execute("SAVEPOINT s1")
        connection.execute("DELETE FROM t WHERE a % 3 = 0")
        connection.execute("SAVEPOINT s2")
        connection.execute("INSERT INTO t(b) SELECT b || b FROM t")
        connection.execute("ROLLBACK TO s2")
        connection.execute("UPDATE t SET b = 'two' WHERE a % 5 = 0")
        connection.execute("ROLLBACK TO s1")
        connection.execute("RELEASE s1")
        connection.execute("UPDATE t SET b = b || a")
        connection.execute("COMMIT")
        sound(connection)
    equal(rows(ours, "SELECT * FROM t"), rows(stock, "SELECT * FROM t"))
    equal(image(ours), image(stock), "the same file")


def test_a_failed_statement_takes_back_what_it_did():
    connection = connect("constraints")
    connection.execute("PRAGMA cache_size = 5")
    connection.execute("CREATE TABLE t(a UNIQUE, b)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, "y" * 200) for n in range(500)])
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t VALUES (1000, 'z')")
    fails("UNIQUE", connection.execute, "UPDATE t SET a = a % 400 + 2000, b = b || b")
    equal(one(connection, "SELECT count(*) FROM t WHERE a >= 1000"), 1)
    connection.execute("COMMIT")
    equal(one(connection, "SELECT count(*) FROM t"), 501)
    sound(connection)


def test_a_rolled_back_transaction_leaves_no_trace():
    ours, other = connect("rollback"), connect("rollback")
    ours.execute("PRAGMA cache_size = 5")
    fill(ours, 200)
    before = image(ours)
    ours.execute("BEGIN")
    ours.execute("CREATE TABLE u AS SELECT a, b || b AS b FROM t")
    ours.execute("DELETE FROM t")
    ours.execute("ROLLBACK")
    equal(image(ours), before)
    equal(image(other), before)
    sound(ours)


def test_own_commits_leave_the_cache_valid_and_those_of_others_do_not():
    ours, other = connect("versions"), connect("versions")
    fill(ours, 1)
    version = one(ours, "PRAGMA data_version")
    fill(ours, 1)
    equal(one(ours, "PRAGMA data_version"), version, "an own commit")
    fill(other, 1)
    changed = one(ours, "PRAGMA data_version")
    assert changed != version, "a commit of another connection"
    equal(one(ours, "PRAGMA data_version"), changed)
    equal(one(ours, "SELECT count(*) FROM t"), 3)


def test_writers_of_many_threads_lose_nothing():
    connection = connect("threads")
    connection.execute("CREATE TABLE t(who, n)")
    failures = []

    def work(who):
        try:
            own = connect("threads", timeout=60)
            for n in range(40):
                own.execute("BEGIN IMMEDIATE")
                before = one(own, "SELECT count(*) FROM t")
                own.execute("INSERT INTO t VALUES (?, ?)", (who, n))
                equal(one(own, "SELECT count(*) FROM t"), before + 1)
                own.execute("COMMIT")
            own.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(failures, [])
    equal(one(connection, "SELECT count(*) FROM (SELECT DISTINCT who, n FROM t)"), 240)
    sound(connection)


def test_blobs_are_written_in_place_and_read_across_overflow_pages():
    connection = connect("blobs")
    connection.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
    connection.execute("INSERT INTO t VALUES (1, zeroblob(3000000))")
    with connection.blobopen("t", "b", 1) as blob:
        blob.seek(1_234_567)
        blob.write(b"needle")
    with connection.blobopen("t", "b", 1, readonly=True) as blob:
        blob.seek(1_234_560)
        equal(blob.read(20), b"\0" * 7 + b"needle" + b"\0" * 7)
    equal(one(connect("blobs"), "SELECT instr(b, x'6e6565646c65') FROM t"), 1_234_568)
    sound(connection)


def test_names_of_the_same_database_differ_in_case_only():
    fill(connect("Case"), 3)
    equal(one(connect("cASE"), "SELECT count(*) FROM t"), 3)


def test_temporary_tables_and_plain_files_are_the_base_vfs_s():
    connection = connect("mixed")
    fill(connection, 5)
    connection.execute("PRAGMA temp_store = FILE")
    connection.execute("CREATE TEMP TABLE temporary AS SELECT * FROM t")
    equal(one(connection, "SELECT count(*) FROM temporary"), 5)
    file = plain("beside.db")
    file.execute("CREATE TABLE p(x)")
    path = rows(file, "PRAGMA database_list")[0][2]
    connection.execute(f"ATTACH '{path}' AS p")
    connection.execute("INSERT INTO p.p SELECT a FROM main.t")
    equal(one(file, "SELECT count(*) FROM p"), 5)
    attach(connection, "another", "o")
    connection.execute("CREATE TABLE o.t AS SELECT * FROM main.t")
    equal(one(connect("another"), "SELECT count(*) FROM t"), 5)


main(globals())
