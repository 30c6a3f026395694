"""The same random statements on a database of a store and on a file: equal answers, equal bytes.

Each round has a fresh database on both sides, and two connections to it, one where it locks the others out; after each of
its sequences the images are compared (`same`: byte by byte, but for what a file keeps of a rollback).
"""

import os
import random
import shutil
import sqlite3

from harness import FILES, STORE, connect, equal, image, main, plain, rows, seed, sound

SEQUENCES = int(os.environ.get("BOP_SEQUENCES") or 10_000)
SEQUENCES_A_ROUND = 50
STATEMENTS_MAX = 9
# A store keeps the past of its databases: no more of them than this, then another one.
ROUNDS_A_STORE = 20
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


def store_of(number):
    return f"{STORE}-{number // ROUNDS_A_STORE}"


def opened(chance, number):
    """A round's pairs of connections, of which the first made the database."""
    locking = chance.choice(("NORMAL", "NORMAL", "EXCLUSIVE"))
    cache_size = chance.choice((2, 10, 1000))
    count = 1 if locking == "EXCLUSIVE" else 2
    pairs = [(connect(f"d{number}", store_of(number)), plain(f"d{number}.db")) for _ in range(count)]
    setup = [
        f"PRAGMA page_size = {chance.choice((512, 1024, 4096, 65536))}",
        f"PRAGMA auto_vacuum = {chance.randrange(3)}",
        f"PRAGMA locking_mode = {locking}",
        "CREATE TABLE t(a UNIQUE, b)",
        "CREATE TABLE u(a INTEGER PRIMARY KEY, b) ",
    ]
    for sql in setup:
        both(pairs[0], sql, (), [sql])
    for pair in pairs:
        both(pair, f"PRAGMA cache_size = {cache_size}", (), [])
        pair[0].execute(f"PRAGMA synchronous = {chance.choice(('OFF', 'FULL'))}")
        # Stock SQLite writes the same whether it waits for the disk or not.
        pair[1].execute("PRAGMA synchronous = OFF")
    return pairs


def both(pair, sql, values, done):
    """Whether a statement, the last of `done`, failed: on both sides in the same way."""
    found, wanted = (answer(connection, sql, values) for connection in pair)
    if found != wanted:
        equal(found, wanted, "; ".join(done))
    return isinstance(found, str)


def content(connection):
    """All that SQLite can find in a database: where each page is and how full, each row, and whether it is sound."""
    copy = sqlite3.connect(":memory:")
    copy.deserialize(connection.serialize())
    tables = rows(copy, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    found = [rows(copy, "SELECT * FROM dbstat ORDER BY name, path")]
    found += [rows(copy, f"SELECT * FROM {table} ORDER BY 1") for (table,) in (("sqlite_schema",), *tables)]
    sound(copy)
    copy.close()
    return found


def same(pair, what):
    """Whether the images are equal byte by byte. If not, all that SQLite can find in them must be equal.

    SQLite does not journal free pages, so a file has in them what was rolled back, where a store has what was
    there before. A free page that becomes one of the list's own, and then a page of a table, is not cleared:
    what it had stays in it behind the last byte that is used."""
    found, wanted = image(pair[0]), image(pair[1])
    if found == wanted:
        return True
    equal(len(found), len(wanted), what)
    equal(found[:100], wanted[:100], what)
    equal(content(pair[0]), content(pair[1]), what)
    return False


def sequence(chance, pair, done):
    """Some statements, in a transaction or not, and its end; how many failed, and whether the images are equal."""
    failed = 0
    for _ in range(1 + chance.randrange(STATEMENTS_MAX)):
        sql, values = statement(chance)
        done.append(sql)
        failed += both(pair, sql, values, done)
    equal(pair[0].in_transaction, pair[1].in_transaction, "; ".join(done))
    if pair[1].in_transaction:
        done.append(chance.choice(("COMMIT", "ROLLBACK")))
        failed += both(pair, done[-1], (), done)
    return failed, same(pair, "; ".join(done))


def a_round(chance, number):
    """How many statements there were, how many of them failed, and how many images were equal in content alone."""
    pairs = opened(chance, number)
    done, failed, unlike = [], 0, 0
    for _ in range(SEQUENCES_A_ROUND):
        errors, alike = sequence(chance, chance.choice(pairs), done)
        failed += errors
        unlike += not alike
    sound(pairs[0][0])
    for table in "tu":
        all_rows = f"SELECT * FROM {table} ORDER BY a"
        another = connect(f"d{number}", store_of(number))
        equal(rows(another, all_rows), rows(pairs[0][1], all_rows), "another connection")
        another.close()
    for pair in pairs:
        for connection in pair:
            connection.close()
    os.remove(os.path.join(FILES, f"d{number}.db"))
    return len(done), failed, unlike


def test_sequences():
    first, statements, failed, unlike = seed(), 0, 0, 0
    for number in range(-(-SEQUENCES // SEQUENCES_A_ROUND)):
        # Given again, the seed of a round makes it the first one.
        of_round = first + (number << 32)
        try:
            counted = a_round(random.Random(of_round), number)
        except AssertionError as error:
            raise AssertionError(f"BOP_SEED={of_round}: {error}") from error
        statements, failed, unlike = (a + b for a, b in zip((statements, failed, unlike), counted))
        if store_of(number) != store_of(number + 1):
            shutil.rmtree(store_of(number))
    print(f"{statements} statements, {failed} failed; {unlike} of {SEQUENCES} images equal in content alone")
    # A generator that only makes errors, or none, would compare nothing.
    assert failed * 2 < statements < failed * 20, (statements, failed)
    # What a rollback leaves is seen once in thousands of sequences, and then for the rest of a round.
    assert unlike * 50 < max(SEQUENCES, 50 * SEQUENCES_A_ROUND), (unlike, SEQUENCES)


main(globals())
