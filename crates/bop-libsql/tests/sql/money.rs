//! Many connections that move money in many databases: it stays as much, no step is lost, and nobody is
//! left behind. `BOP_TRANSACTIONS` says how many transactions there are.

use crate::common::{Random, code_of, int, integrity, new_store};
use bop_libsql::{Connection, Store};
use rusqlite::ffi;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TRANSACTIONS: u64 = 30_000;
const CONNECTIONS: u64 = 64;
const DATABASES: u64 = 16;
const ACCOUNTS: u64 = 20;
const BALANCE: i64 = 1000;
/// One transaction in so many moves money from one database to another.
const ACROSS: u64 = 16;

#[test]
fn small_transactions_of_many_connections_lose_nothing_and_leave_nobody_behind() {
    let transactions = match std::env::var("BOP_TRANSACTIONS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => TRANSACTIONS,
    };
    let mut random = Random::new();
    println!("BOP_SEED={}", random.seed());
    let (_dir, store) = new_store();
    (0..DATABASES).for_each(|number| create(&store, number));
    let (start, taken) = (Barrier::new(CONNECTIONS as usize), AtomicU64::new(0));
    let began = Instant::now();
    let counts: Vec<Counts> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let random = Random::seeded(random.next());
                let (store, start, taken) = (&store, &start, &taken);
                scope.spawn(move || {
                    let mut worker = Worker::new(store, number, random);
                    start.wait();
                    while taken.fetch_add(1, Ordering::Relaxed) < transactions {
                        worker.transact();
                    }
                    worker.counts
                })
            })
            .collect();
        let workers = workers.into_iter();
        workers.map(|worker| worker.join().unwrap()).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let done: u64 = counts.iter().map(|counts| counts.done).sum();
    let across: u64 = counts.iter().map(|counts| counts.across).sum();
    let busy: u64 = counts.iter().map(|counts| counts.busy).sum();
    let slowest = counts.iter().map(|counts| counts.done).min().unwrap();
    println!(
        "{done} transactions, {across} of them across, {busy} busy, slowest {slowest} of {} on \
         average, {:.0}/s",
        done / CONNECTIONS,
        done as f64 / seconds
    );
    assert_eq!(done, transactions);
    assert!(slowest * 3 >= done / CONNECTIONS, "{slowest}: {counts:?}");
    check(&store, done, across);
}

fn create(store: &Store, number: u64) {
    let connection = store.connect(&name(number)).unwrap();
    connection
        .execute_batch(&format!(
            "CREATE TABLE account(i INTEGER PRIMARY KEY, balance INT);
             CREATE TABLE step(n INT); INSERT INTO step VALUES (0);
             WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {ACCOUNTS})
                 INSERT INTO account SELECT i, {BALANCE} FROM n"
        ))
        .unwrap();
}

fn name(number: u64) -> String {
    format!("bank-{}", number % DATABASES)
}

/// All money, and all steps: one for each transaction in each database that it was in.
fn check(store: &Store, done: u64, across: u64) {
    let (mut money, mut steps) = (0, 0);
    for number in 0..DATABASES {
        let connection = store.connect(&name(number)).unwrap();
        assert_eq!(integrity(&connection), "ok");
        money += int(&connection, "SELECT sum(balance) FROM account");
        steps += int(&connection, "SELECT n FROM step");
    }
    assert_eq!(
        money,
        BALANCE * i64::try_from(ACCOUNTS * DATABASES).unwrap()
    );
    assert_eq!(u64::try_from(steps).unwrap(), done + across);
}

#[derive(Debug, Default)]
struct Counts {
    done: u64,
    across: u64,
    busy: u64,
}

struct Worker {
    connection: Connection,
    random: Random,
    counts: Counts,
}

impl Worker {
    fn new(store: &Store, number: u64, random: Random) -> Self {
        let connection = store.connect(&name(number)).unwrap();
        connection.busy_timeout(Duration::from_secs(120)).unwrap();
        let other = name(number ^ 1);
        connection.execute("ATTACH ?1 AS other", [other]).unwrap();
        Self {
            connection,
            random,
            counts: Counts::default(),
        }
    }

    /// One transaction, however often it is refused: each locks its own database and then, one in
    /// some, its neighbour, which others lock the other way round.
    fn transact(&mut self) {
        let across = self.random.below(ACROSS) == 0;
        while let Err(error) = self.attempt(across) {
            assert_eq!(code_of::<()>(Err(error)), ffi::SQLITE_BUSY);
            self.counts.busy += 1;
            if !self.connection.is_autocommit() {
                self.connection.execute_batch("ROLLBACK").unwrap();
            }
        }
        self.counts.done += 1;
        self.counts.across += u64::from(across);
    }

    fn attempt(&mut self, across: bool) -> rusqlite::Result<()> {
        let [from, to, amount] = [ACCOUNTS, ACCOUNTS, 9].map(|bound| self.random.below(bound));
        let schema = if across { "other" } else { "main" };
        let connection = &self.connection;
        connection.prepare_cached("BEGIN")?.execute([])?;
        step(connection, "main")?;
        if across {
            step(connection, "other")?;
        }
        let moves = [
            ("main", from, -(amount as i64)),
            (schema, to, amount as i64),
        ];
        for (schema, account, amount) in moves {
            let sql = format!("UPDATE {schema}.account SET balance = balance + ?1 WHERE i = ?2");
            let mut update = connection.prepare_cached(&sql)?;
            assert_eq!(update.execute([amount, account as i64])?, 1);
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

/// Counts on. The first statement writes, so that what is read is the newest; a lost update would
/// read what another transaction counts on from.
fn step(connection: &Connection, schema: &str) -> rusqlite::Result<()> {
    let mut take = connection.prepare_cached(&format!("UPDATE {schema}.step SET n = n"))?;
    take.execute([])?;
    let mut read = connection.prepare_cached(&format!("SELECT n FROM {schema}.step"))?;
    let n: i64 = read.query_row([], |row| row.get(0))?;
    let mut write = connection.prepare_cached(&format!("UPDATE {schema}.step SET n = ?1"))?;
    write.execute([n + 1])?;
    Ok(())
}
