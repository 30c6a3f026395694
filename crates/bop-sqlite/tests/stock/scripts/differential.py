"""The same random statements on a database of a store and on a file: equal answers, equal bytes."""

import os
import sqlite3

from harness import connect, equal, image, main, plain, rows, seeded, sound

SEQUENCES = int(os.environ.get("BOP_SEQUENCES") or 60)
STATEMENTS = 60
# As many as an SQLite with its defaults shows.
JOURNALS = ("delete", "truncate", "persist", "memory")


def statement(chance):
    """A statement, and its values."""
    table = chance.choice("tu")
    text = chance.choice("abc") * chance.choice((1, 30, 400, 3000))
    number = chance.randrange(200)
    kind = chance.randrange(20)
    if kind < 6:
        count = chance.choice((1, 5, 60))
        return (
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
            f"INSERT OR {chance.choice(('ABORT', 'FAIL', 'IGNORE', 'REPLACE', 'ROLLBACK'))} "
            f"INTO {table} SELECT i * {1 + number}, ? || i FROM n",
            (text,),
        )
    if kind < 9:
        return f"UPDATE {table} SET b = ? || b WHERE a % 7 = ?", (text[:50], number % 7)
    if kind < 11:
        return f"DELETE FROM {table} WHERE a % 5 = ?", (number % 5,)
    if kind == 11:
        return f"UPDATE {table} SET a = a + 1 WHERE a > ?", (number,)
    if kind == 12:
        return chance.choice(("BEGIN", "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")), ()
    if kind == 13:
        return chance.choice(("SAVEPOINT s", "SAVEPOINT r", "RELEASE s", "ROLLBACK TO s", "ROLLBACK TO r")), ()
    if kind == 14:
        return f"CREATE INDEX IF NOT EXISTS i{number % 3} ON {table}(b, a)", ()
    if kind == 15:
        return f"DROP INDEX IF EXISTS i{number % 3}", ()
    if kind == 16:
        return chance.choice(("VACUUM", "PRAGMA incremental_vacuum(3)", "REINDEX", "ANALYZE")), ()
    if kind == 17:
        return f"PRAGMA journal_mode = {chance.choice(JOURNALS)}", ()
    if kind == 18:
        return f"PRAGMA user_version = {number}", ()
    return f"SELECT count(*), sum(a), sum(length(b)) FROM {table} WHERE a > ?", (number,)


def answer(connection, sql, values):
    try:
        return rows(connection, sql, *values)
    except sqlite3.Error as error:
        return str(error)


def sequence(chance, number):
    size = chance.choice((512, 1024, 4096, 65536))
    pair = [connect(f"d{number}"), plain(f"d{number}.db")]
    setup = [
        f"PRAGMA page_size = {size}",
        f"PRAGMA auto_vacuum = {chance.randrange(3)}",
        f"PRAGMA cache_size = {chance.choice((2, 10, 1000))}",
        f"PRAGMA locking_mode = {chance.choice(('NORMAL', 'NORMAL', 'EXCLUSIVE'))}",
        "CREATE TABLE t(a UNIQUE, b)",
        "CREATE TABLE u(a INTEGER PRIMARY KEY, b) ",
    ]
    for sql in setup:
        equal(answer(pair[0], sql, ()), answer(pair[1], sql, ()), sql)
    pair[0].execute(f"PRAGMA synchronous = {chance.choice(('OFF', 'FULL'))}")
    # Stock SQLite writes the same whether it waits for the disk or not.
    pair[1].execute("PRAGMA synchronous = OFF")
    done = []
    for _ in range(STATEMENTS):
        sql, values = statement(chance)
        done.append(sql)
        found, wanted = (answer(connection, sql, values) for connection in pair)
        equal(found, wanted, f"sequence {number}: {'; '.join(done)}")
    for connection in pair:
        if connection.in_transaction:
            connection.execute("COMMIT")
    equal(image(pair[0]), image(pair[1]), f"sequence {number}: {'; '.join(done)}")
    sound(pair[0])
    for table in "tu":
        all_rows = f"SELECT * FROM {table} ORDER BY a"
        equal(rows(connect(f"d{number}"), all_rows), rows(pair[1], all_rows), "another connection")
    for connection in pair:
        connection.close()


def test_sequences():
    chance = seeded()
    for number in range(SEQUENCES):
        sequence(chance, number)


main(globals())
