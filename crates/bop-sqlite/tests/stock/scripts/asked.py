"""Has a store open, and does what it is told: each line of its input is an expression, whose value it writes."""

import ctypes
import os

if os.environ.get("BOP_TEST_SINGLE_THREAD"):
    # Before anything uses SQLite: SQLITE_CONFIG_SINGLETHREAD.
    ctypes.CDLL("libsqlite3.so.0").sqlite3_config(1)

from harness import *

connection = None
children = []


def begin():
    """The store is opened."""
    global connection
    connection = connect("orders")
    connection.execute("CREATE TABLE IF NOT EXISTS t(x)")
    return "open"


def end():
    """Its last connection is closed."""
    connection.close()
    return "closed"


def pairs(count):
    """Commits rows in pairs whose sum is nothing."""
    for number in range(count):
        connection.execute("INSERT INTO t VALUES (?), (-?)", (number, number))
    return "written"


def fails_now(sql):
    """What SQLite says to one that waits for nobody."""
    try:
        connect("orders", timeout=0).execute(sql)
    except sqlite3.Error as error:
        return str(error)


def why_not():
    """The store is not opened, and says why."""
    try:
        connect("orders").execute("SELECT 1")
    except sqlite3.Error:
        return one(loader, "SELECT bop_last_error()")


def fork():
    """A child that has all of its parent's files, and does nothing, until it is let go."""
    waits, tells = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tells)
        os.read(waits, 1)
        os._exit(0)
    os.close(waits)
    children.append((child, tells))
    return "forked"


def let_go():
    """The children end."""
    while children:
        child, tells = children.pop()
        os.close(tells)
        equal(os.waitpid(child, 0)[1], 0, "the child's exit status")
    return "gone"


def control_threads():
    """How many of this process's threads serve the control socket."""
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as comm:
                names.append(comm.read())
        except OSError:
            pass  # It has ended meanwhile.
    return sum(name.startswith("bop-control") for name in names)


for line in sys.stdin:
    print(eval(line), flush=True)
