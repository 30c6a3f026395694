"""Moves money between two databases, and says what was acknowledged. Killed, or refused by the kernel, by
whoever runs it: `transfers.py setup | run N | check`."""

import sys

from harness import attach, connect, equal, one, reason, sound

ACCOUNTS = 20
EACH = 100


def open_both():
    connection = connect("a")
    attach(connection, "b", "b")
    return connection


def setup():
    for name in "ab":
        connection = connect(name)
        connection.execute("CREATE TABLE account(id INTEGER PRIMARY KEY, money)")
        connection.execute("CREATE TABLE moved(n INTEGER PRIMARY KEY, filler)")
        connection.execute("CREATE TABLE alone(n INTEGER PRIMARY KEY)")
        connection.executemany("INSERT INTO account(money) VALUES (?)", [(EACH,)] * ACCOUNTS)


def total(connection):
    return sum(one(connection, f"SELECT sum(money) FROM {db}.account") for db in ("main", "b"))


def run(count):
    connection = open_both()
    # A few pages of cache: most of a transfer is written before it is committed.
    connection.execute("PRAGMA main.cache_size = 3")
    connection.execute("PRAGMA b.cache_size = 3")
    first = one(connection, "SELECT coalesce(max(n), 0) FROM main.moved") + 1
    done = set()
    print("begin", flush=True)
    for n in range(first, first + count):
        try:
            connection.execute("BEGIN")
            connection.execute("UPDATE main.account SET money = money - 1 WHERE id = ?", (n % ACCOUNTS + 1,))
            connection.execute("UPDATE b.account SET money = money + 1 WHERE id = ?", (n % ACCOUNTS + 1,))
            for db in ("main", "b"):
                connection.execute(f"INSERT INTO {db}.moved VALUES (?, zeroblob(20000))", (n,))
            connection.execute("COMMIT")
            done.add(n)
            print("done", n, flush=True)
            # One database, without a super-journal.
            connection.execute("INSERT INTO b.alone VALUES (?)", (n,))
            print("alone", n, flush=True)
        except Exception as error:
            print("failed", n, error, "|", reason(), flush=True)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            # The connection goes on, with nothing half done.
            equal(total(connection), 2 * ACCOUNTS * EACH, "after an error")
            for db in ("main", "b"):
                moved = one(connection, f"SELECT count(*) FROM {db}.moved WHERE n = ?", n)
                equal(moved, int(n in done), db)
    print("end", flush=True)


def check():
    connection = open_both()
    equal(total(connection), 2 * ACCOUNTS * EACH)
    moved = [one(connection, f"SELECT group_concat(n) FROM {db}.moved") for db in ("main", "b")]
    equal(moved[0], moved[1], "transfers")
    for name in "ab":
        sound(connect(name))
    print("moved", moved[0] or "")
    print("alone", one(connection, "SELECT group_concat(n) FROM b.alone") or "")


if sys.argv[1] == "setup":
    setup()
elif sys.argv[1] == "run":
    run(int(sys.argv[2]))
else:
    check()
