//! SQL: rows that are replaced and deleted, a count that goes up, a reader that must not see it.

use super::{Load, same};
use crate::Result;
use crate::random::Random;
use crate::stop::Stop;
use bop_libsql::{Connection, Store};
use std::sync::atomic::{AtomicU64, Ordering};

const DATABASES: usize = 4;
const ROWS: usize = 1000;
const ROW_BYTES_MAX: usize = 900;
const FILL: &str =
    "with recursive k(n) as (select 0 union all select n + 1 from k where n + 1 < ?1)
    insert or ignore into t select n, randomblob(1 + abs(random() % ?2)) from k";
/// A reader keeps its snapshot for so many commits.
const SNAPSHOT_COMMITS: u32 = 25;

/// Databases of one thread, and the count in each.
pub(super) struct Sql {
    number: usize,
    random: Random,
    counts: [u64; DATABASES],
}

/// A connection that reads, and the count when its transaction began.
struct Reader {
    connection: Connection,
    count: u64,
    left: u32,
}

impl Sql {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            random: Random::new(number as u64),
            counts: [0; DATABASES],
        }
    }

    fn connect(&self, store: &Store, database: usize) -> Result<Connection> {
        let connection = store.connect(&format!("sql-{}-{database}", self.number))?;
        // Of two databases the commits are relaxed; a clean end has them all.
        let promise = if database.is_multiple_of(2) {
            "full"
        } else {
            "normal"
        };
        connection.execute_batch(&format!("pragma synchronous={promise}"))?;
        Ok(connection)
    }

    fn write(&mut self, connection: &mut Connection, database: usize) -> Result<()> {
        let random = &mut self.random;
        let mut content = vec![0; random.below(ROW_BYTES_MAX)];
        random.fill(&mut content);
        let key = random.below(ROWS) as i64;
        let transaction = connection.transaction()?;
        transaction.execute("insert or replace into t values (?1, ?2)", (key, content))?;
        if random.one_in(20) {
            let from = random.below(ROWS) as i64;
            let range = (from, from + 10);
            transaction.execute("delete from t where k between ?1 and ?2", range)?;
        }
        transaction.execute("update c set n = n + 1", ())?;
        transaction.commit()?;
        self.counts[database] += 1;
        Ok(())
    }
}

fn count(connection: &Connection) -> Result<u64> {
    let count: i64 = connection.query_row("select n from c", (), |row| row.get(0))?;
    Ok(u64::try_from(count)?)
}

impl Reader {
    fn begin(connection: Connection) -> Result<Self> {
        connection.execute_batch("begin")?;
        let count = count(&connection)?;
        let left = SNAPSHOT_COMMITS;
        Ok(Self {
            connection,
            count,
            left,
        })
    }

    /// The snapshot is what it was; when it is old, its connection is closed.
    fn look(mut self) -> Result<Option<Self>> {
        same("a snapshot's count", &count(&self.connection)?, &self.count)?;
        self.left -= 1;
        if 0 < self.left {
            return Ok(Some(self));
        }
        let check = "select count(*) from t where length(v) >= 0";
        let rows: i64 = self.connection.query_row(check, (), |row| row.get(0))?;
        if (ROWS as i64) < rows {
            return Err(format!("{rows} rows, where there are fewer keys").into());
        }
        self.connection.execute_batch("commit")?;
        Ok(None)
    }
}

impl Load for Sql {
    fn name(&self) -> String {
        format!("sql {}", self.number)
    }

    fn run(&mut self, store: &Store, stop: &Stop, commits: &AtomicU64) -> Result<()> {
        let mut connections = Vec::new();
        for database in 0..DATABASES {
            let connection = self.connect(store, database)?;
            connection.execute_batch(
                "create table if not exists t(k integer primary key, v blob);
                 create table if not exists c(n integer);
                 insert into c select 0 where not exists (select 1 from c)",
            )?;
            same(
                "the count of commits",
                &count(&connection)?,
                &self.counts[database],
            )?;
            if self.counts[database] == 0 {
                // Full from the beginning: what grows then is a leak.
                connection.execute(FILL, (ROWS as i64, ROW_BYTES_MAX as i64))?;
            }
            connections.push(connection);
        }
        let mut reader: Option<Reader> = None;
        let mut read_from = 0;
        while !stop.is_set() {
            let database = self.random.below(DATABASES);
            self.write(&mut connections[database], database)?;
            commits.fetch_add(1, Ordering::Relaxed);
            reader = match reader {
                Some(reader) => reader.look()?,
                None => {
                    read_from = (read_from + 1) % DATABASES;
                    Some(Reader::begin(self.connect(store, read_from)?)?)
                }
            };
            if self.random.one_in(100) {
                connections[database] = self.connect(store, database)?;
            }
            if self.random.one_in(2000) && reader.is_none() {
                connections[database].execute_batch("vacuum")?;
            }
        }
        Ok(())
    }
}
