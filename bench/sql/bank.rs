//! The works of applications over SQL, which both sides do with the same statements: each includes this file
//! and names, as `crate::rusqlite`, the library that it measures.

use crate::rusqlite::{Connection, Statement};
use bench_work::{Loop, Post, ROW_BYTES, Random, Result};
use std::time::Duration;

/// Accounts of each bank; of tellers there are a hundredth.
const ACCOUNTS: u64 = 1000;
/// Rows of the work `bulk`.
const BULK_ROWS: u64 = 1_000_000;
/// Rows of a range.
const RANGE_ROWS: u64 = 100;
/// Point selects for each range.
const SELECTS_A_RANGE: u64 = 10;

const BANK: &str = "
    CREATE TABLE IF NOT EXISTS account(id INTEGER PRIMARY KEY, balance INTEGER, filler BLOB);
    CREATE TABLE IF NOT EXISTS teller(id INTEGER PRIMARY KEY, balance INTEGER, filler BLOB);
    CREATE TABLE IF NOT EXISTS branch(id INTEGER PRIMARY KEY, balance INTEGER, filler BLOB);
    CREATE TABLE IF NOT EXISTS history(teller INTEGER, account INTEGER, amount INTEGER, filler BLOB);";

/// Makes a bank: accounts, tellers, one branch, each with 80 bytes besides.
pub(crate) fn open_bank(connection: &Connection) -> Result<()> {
    connection.execute_batch(BANK)?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    for (table, rows) in [
        ("account", ACCOUNTS),
        ("teller", ACCOUNTS / 100),
        ("branch", 1),
    ] {
        let fill = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
             INSERT OR REPLACE INTO {table} SELECT i, 0, zeroblob(80) FROM n"
        );
        connection.execute(&fill, [i64::try_from(rows)?])?;
    }
    connection.execute_batch("COMMIT")?;
    Ok(())
}

/// The statements of a transaction like TPC-B's (TPC Benchmark B, revision 2.0, clause 1.2).
pub(crate) struct Bank<'c> {
    begin: Statement<'c>,
    account: Statement<'c>,
    balance: Statement<'c>,
    teller: Statement<'c>,
    branch: Statement<'c>,
    history: Statement<'c>,
    commit: Statement<'c>,
}

impl<'c> Bank<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Result<Self> {
        Ok(Self {
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            account: connection.prepare("UPDATE account SET balance = balance + ? WHERE id = ?")?,
            balance: connection.prepare("SELECT balance FROM account WHERE id = ?")?,
            teller: connection.prepare("UPDATE teller SET balance = balance + ? WHERE id = ?")?,
            branch: connection.prepare("UPDATE branch SET balance = balance + ? WHERE id = 1")?,
            history: connection.prepare("INSERT INTO history VALUES (?, ?, ?, zeroblob(20))")?,
            commit: connection.prepare("COMMIT")?,
        })
    }

    /// Moves some money.
    pub(crate) fn transact(&mut self, random: &mut Random) -> Result<()> {
        let account = i64::try_from(1 + random.below(ACCOUNTS))?;
        let teller = i64::try_from(1 + random.below(ACCOUNTS / 100))?;
        let amount = i64::try_from(random.below(10_000))? - 5_000;
        self.begin.execute([])?;
        self.account.execute([amount, account])?;
        let _balance: i64 = self.balance.query_row([account], |row| row.get(0))?;
        self.teller.execute([amount, teller])?;
        self.branch.execute([amount])?;
        self.history.execute([teller, account, amount])?;
        self.commit.execute([])?;
        Ok(())
    }
}

/// A thread's transactions, round its banks. Each ends with `wait`, for what `COMMIT` alone has not done.
pub(crate) fn transactions(
    post: &Post,
    connections: &[&Connection],
    wait: impl Fn() -> Result<()>,
) -> Result<()> {
    let banks = connections.iter().map(|connection| {
        open_bank(connection)?;
        Bank::new(connection)
    });
    let (mut banks, mut next) = (banks.collect::<Result<Vec<_>>>()?, 0);
    post.serve(Loop::TIMED, |random| {
        banks[next].transact(random)?;
        next = (next + 1) % banks.len();
        wait()
    })
}

/// One transaction of many rows into an empty table; its time.
pub(crate) fn bulk(connection: &Connection, random: &mut Random) -> Result<Duration> {
    connection.execute_batch("DROP TABLE IF EXISTS entry")?;
    connection.execute_batch(bench_work::CREATE)?;
    let mut row = [0; ROW_BYTES];
    crate::table::timed(|| {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut insert = connection.prepare(bench_work::INSERT)?;
        for _ in 0..BULK_ROWS {
            random.fill(&mut row);
            insert.execute([row.as_slice()])?;
        }
        connection.execute_batch("COMMIT")?;
        Ok(())
    })
}

/// Some selects by key and a range, again and again, of a table with so many rows.
pub(crate) fn ranges(post: &Post, connection: &Connection) -> Result<()> {
    let rows: i64 = connection.query_row("SELECT max(id) FROM entry", [], |row| row.get(0))?;
    let rows = u64::try_from(rows)?;
    let mut point = connection.prepare("SELECT content FROM entry WHERE id = ?")?;
    let range = "SELECT sum(length(content)) FROM entry WHERE id >= ?1 AND id < ?1 + ?2";
    let mut range = connection.prepare(range)?;
    post.serve(Loop::TIMED, |random| {
        for _ in 0..SELECTS_A_RANGE {
            let id = i64::try_from(1 + random.below(rows))?;
            let _row: usize = point.query_row([id], |row| Ok(row.get_ref(0)?.as_blob()?.len()))?;
        }
        let first = i64::try_from(1 + random.below(rows - RANGE_ROWS))?;
        let count = i64::try_from(RANGE_ROWS)?;
        let _bytes: i64 = range.query_row([first, count], |row| row.get(0))?;
        Ok(())
    })
}

/// The first thread writes, as company; the others read what is there, ten selects an operation.
pub(crate) fn mixed(post: &Post, connection: &Connection) -> Result<()> {
    let mut bank = Bank::new(connection)?;
    if post.thread() == 0 {
        return post.serve(Loop::COMPANY, |random| bank.transact(random));
    }
    post.serve(Loop::TIMED, |random| {
        for _ in 0..SELECTS_A_RANGE {
            let account = i64::try_from(1 + random.below(ACCOUNTS))?;
            let _balance: i64 = bank.balance.query_row([account], |row| row.get(0))?;
        }
        Ok(())
    })
}

/// An autocommit insert, again and again.
pub(crate) fn inserts(post: &Post, connection: &Connection) -> Result<()> {
    let mut insert = connection.prepare(bench_work::INSERT)?;
    let mut row = [0; ROW_BYTES];
    post.serve(Loop::TIMED, |random| {
        random.fill(&mut row);
        insert.execute([row.as_slice()])?;
        Ok(())
    })
}
