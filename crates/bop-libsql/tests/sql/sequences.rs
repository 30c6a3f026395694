//! The same random sequences of statements to two databases of a store and to two files of SQLite's
//! own: the same answers, the same errors, and the same bytes.
//!
//! Each round has a fresh pair of databases on both sides, and two connections a side that see both;
//! after each of its sequences the images are compared. `BOP_SEQUENCES` says how many sequences there
//! are, `BOP_SEED` where the random numbers start; a failure prints the seed of its round.
//!
//! A page that is allocated and freed before it was ever written has no bytes of its own: here it has
//! zeros, in a file whatever stood there before the file was cut. So in rounds where databases get
//! shorter freed pages are overwritten (`secure_delete`), in the others nothing is ever cut.

use crate::common::{Random, new_store};
use bop_libsql::Store;
use rusqlite::{Connection, ffi};
use std::fmt::Write;
use std::path::Path;

const SEQUENCES: u64 = 20_000;
const SEQUENCES_A_ROUND: u64 = 50;
const STATEMENTS_MAX: u64 = 9;
const THREADS: u64 = 2;
const SCHEMAS: [&str; 2] = ["main", "other"];

#[test]
fn random_sequences_have_the_same_answers_and_bytes_as_in_stock_sqlite() {
    let sequences = match std::env::var("BOP_SEQUENCES") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => SEQUENCES,
    };
    let mut random = Random::new();
    println!("{sequences} sequences from BOP_SEED={}", random.seed());
    let rounds = sequences.div_ceil(SEQUENCES_A_ROUND * THREADS);
    let done: Vec<Tally> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|nth| {
                // The first round of the first thread has the seed itself.
                let first = match nth {
                    0 => random.seed(),
                    _ => random.next(),
                };
                scope.spawn(move || run(first, rounds))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let all = done.iter().fold(Tally::default(), |sum, one| Tally {
        statements: sum.statements + one.statements,
        errors: sum.errors + one.errors,
        busy: sum.busy + one.busy,
        images: sum.images + one.images,
    });
    println!("{all:?}");
    assert!(all.images >= sequences);
    // A generator that only makes errors, or none, would compare nothing.
    assert!(all.errors * 20 > all.statements && all.errors * 2 < all.statements);
    assert!(all.busy * 400 > all.statements);
}

#[derive(Debug, Default)]
struct Tally {
    statements: u64,
    errors: u64,
    busy: u64,
    images: u64,
}

fn run(first: u64, rounds: u64) -> Tally {
    let (_dir, store) = new_store();
    let plain = tempfile::tempdir().unwrap();
    let mut tally = Tally::default();
    for nth in 0..rounds {
        // `BOP_SEED` of a failed round makes it the first one.
        let mut random = Random::seeded(first.wrapping_add(nth << 32));
        let names = SCHEMAS.map(|schema| format!("{schema}-{nth}"));
        let mut round = Round::new(&store, plain.path(), &names, &mut random);
        for _ in 0..SEQUENCES_A_ROUND {
            round.sequence(&mut random, &mut tally);
        }
        drop(round);
        for name in names {
            store.manager().drop_database(&name).unwrap();
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(plain.path().join(format!("{name}{end}")));
            }
        }
    }
    tally
}

/// Two connections a side.
struct Round {
    ours: [bop_libsql::Connection; 2],
    stock: [Connection; 2],
    savepoints: [u64; 2],
    /// Its databases get shorter.
    shrinks: bool,
    /// Of the sequences before.
    script: String,
}

impl Round {
    fn new(store: &Store, plain: &Path, names: &[String; 2], random: &mut Random) -> Self {
        let shrinks = random.below(2) == 0;
        let ours = [0, 1].map(|_| store.connect(&names[0]).unwrap());
        let stock = [0, 1].map(|_| {
            let connection = Connection::open(plain.join(&names[0])).unwrap();
            connection
                .execute_batch("PRAGMA foreign_keys = 0; PRAGMA recursive_triggers = 0")
                .unwrap();
            connection
        });
        for (nth, connection) in ours.iter().enumerate() {
            let other = &names[1];
            let other = format!("file:{other}");
            attach(connection, &other, nth, shrinks, random.seed());
        }
        for (nth, connection) in stock.iter().enumerate() {
            let other = plain.join(&names[1]);
            let other = format!("file:{}", other.display());
            attach(connection, &other, nth, shrinks, random.seed());
        }
        Self {
            ours,
            stock,
            savepoints: [0; 2],
            shrinks,
            script: String::new(),
        }
    }

    /// One sequence, and a look at the bytes.
    fn sequence(&mut self, random: &mut Random, tally: &mut Tally) {
        let mut script = String::new();
        for _ in 0..2 + random.below(STATEMENTS_MAX - 1) {
            // Mostly one of the two, so that transactions have some length.
            let who = usize::from(random.below(5) == 0);
            let sql = statement(random, &mut self.savepoints[who], self.shrinks);
            self.both(who, &sql, &mut script, tally);
        }
        for who in [0, 1] {
            if !self.ours[who].is_autocommit() {
                let end = ["COMMIT", "ROLLBACK"][random.below(2) as usize];
                self.both(who, end, &mut script, tally);
            }
            if !self.ours[who].is_autocommit() {
                self.both(who, "ROLLBACK", &mut script, tally);
            }
            self.savepoints[who] = 0;
        }
        self.script += &script;
        tally.images += 1;
        let reader = random.below(2) as usize;
        for schema in SCHEMAS {
            let mine = image(&self.ours[reader], schema);
            let theirs = image(&self.stock[reader], schema);
            let at = difference(&mine, &theirs);
            assert!(
                at.is_none(),
                "{schema} differs at {at:?} of {}, {:?} {:?} after\n{}",
                mine.len(),
                at.and_then(|at| mine.get(at..at + 8)),
                at.and_then(|at| theirs.get(at..at + 8)),
                self.script
            );
        }
    }

    fn both(&mut self, who: usize, sql: &str, script: &mut String, tally: &mut Tally) {
        let _ = writeln!(script, "{who}: {sql}");
        let (mine, theirs) = (
            run_one(&self.ours[who], sql),
            run_one(&self.stock[who], sql),
        );
        assert_eq!(mine, theirs, "{script}");
        let open = [&*self.ours[who], &self.stock[who]].map(Connection::is_autocommit);
        assert_eq!(open[0], open[1], "{script}");
        if open[0] {
            self.savepoints[who] = 0;
        }
        tally.statements += 1;
        tally.errors += u64::from(mine.1.is_some());
        tally.busy += u64::from(mine.1 == Some(ffi::SQLITE_BUSY));
    }
}

/// Makes a connection ready, in the same way on both sides: the first one chooses the shape.
fn attach(connection: &Connection, other: &str, nth: usize, shrinks: bool, seed: u64) {
    let mut random = Random::seeded(seed);
    let sizes = [512, 512, 1024, 1024, 4096, 4096, 8192, 65_536];
    let mut size = || sizes[random.below(8) as usize];
    let (main, attached) = (size(), size());
    let vacuum = if shrinks { random.below(3) } else { 0 };
    connection.execute("ATTACH ?1 AS other", [other]).unwrap();
    for (schema, size) in SCHEMAS.into_iter().zip([main, attached]) {
        let first = match nth {
            0 => format!(
                "PRAGMA {schema}.page_size = {size}; PRAGMA {schema}.auto_vacuum = {vacuum};"
            ),
            _ => String::new(),
        };
        connection
            .execute_batch(&format!(
                "{first} PRAGMA {schema}.journal_mode = WAL; PRAGMA {schema}.synchronous = OFF;
                 PRAGMA {schema}.secure_delete = {shrinks};
                 PRAGMA {schema}.cache_size = 10;"
            ))
            .unwrap();
        // Settles both: SQLite's own WAL has done so already.
        if nth == 0 {
            let settled = format!("CREATE TABLE {schema}.settled(x)");
            connection.execute_batch(&settled).unwrap();
        }
    }
    connection
        .execute_batch("PRAGMA busy_timeout = 0; PRAGMA wal_autocheckpoint = 0")
        .unwrap();
}

/// Rows as text, and the primary code and message of the error.
fn run_one(connection: &Connection, sql: &str) -> (String, Option<i32>, String) {
    let mut answer = String::new();
    let result = (|| {
        let mut statement = connection.prepare(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                let _ = write!(answer, "{:?}|", row.get_ref(column)?);
            }
            answer.push('\n');
        }
        Ok::<(), rusqlite::Error>(())
    })();
    match result {
        Ok(()) => (answer, None, String::new()),
        Err(error) => {
            let code = error.sqlite_error().unwrap().extended_code & 0xff;
            (answer, Some(code), error.to_string())
        }
    }
}

/// What `sqlite3_serialize` gives of a database.
fn image(connection: &Connection, schema: &str) -> Vec<u8> {
    let schema = std::ffi::CString::new(schema).unwrap();
    let mut bytes = 0;
    // SAFETY: the connection is open; the answer is null or has so many bytes, and is ours to free.
    unsafe {
        let start = ffi::sqlite3_serialize(connection.handle(), schema.as_ptr(), &raw mut bytes, 0);
        let bytes = usize::try_from(bytes).unwrap();
        assert!(!start.is_null() || bytes == 0);
        if start.is_null() {
            return Vec::new();
        }
        let image = std::slice::from_raw_parts(start, bytes).to_vec();
        ffi::sqlite3_free(start.cast());
        image
    }
}

/// Where two images differ, but for the format versions, the change counters and who counted last.
fn difference(mine: &[u8], theirs: &[u8]) -> Option<usize> {
    if mine.len() != theirs.len() {
        return Some(mine.len().min(theirs.len()));
    }
    let counted =
        |at: usize| [18, 19].contains(&at) || (24..28).contains(&at) || (92..100).contains(&at);
    (0..mine.len()).find(|at| mine[*at] != theirs[*at] && !counted(*at))
}

/// The next statement; `depth` counts the savepoints that may be open.
fn statement(random: &mut Random, depth: &mut u64, shrinks: bool) -> String {
    let schema = SCHEMAS[usize::from(random.below(3) == 0)];
    let table = format!("{schema}.t{}", random.below(3));
    let key = random.below(120);
    match random.below(34) {
        0..=3 => create(random, schema),
        4..=14 => change(random, &table, key),
        15 => format!("SELECT count(*), sum(length(c)), sum(b), max(a) FROM {table}"),
        16 => format!("SELECT i, b FROM {table} WHERE a > '{key}' ORDER BY a, i LIMIT 9"),
        17..=18 => "BEGIN".to_owned(),
        19 => "BEGIN IMMEDIATE".to_owned(),
        20..=21 => "COMMIT".to_owned(),
        22 => "ROLLBACK".to_owned(),
        23..=25 => {
            *depth += 1;
            format!("SAVEPOINT s{depth}")
        }
        26..=27 => format!("ROLLBACK TO s{}", random.below(*depth + 1)),
        28 => format!("RELEASE s{}", random.below(*depth + 1)),
        29 if shrinks => format!("VACUUM {schema}"),
        30 if shrinks => format!("PRAGMA {schema}.incremental_vacuum({})", random.below(6)),
        31 => ["REINDEX", "ANALYZE"][random.below(2) as usize].to_owned(),
        32 => format!("DROP TABLE {table}"),
        _ => format!("SELECT name, rootpage FROM {schema}.sqlite_schema ORDER BY 1"),
    }
}

fn create(random: &mut Random, schema: &str) -> String {
    let n = random.below(3);
    let table = format!("{schema}.t{n}");
    match random.below(8) {
        0..=3 => format!(
            "CREATE TABLE IF NOT EXISTS {table}(i INTEGER PRIMARY KEY, a TEXT, b INT UNIQUE, c BLOB,
                 CHECK (b < 900))"
        ),
        4 => format!("CREATE INDEX IF NOT EXISTS {schema}.by_a{n} ON t{n}(a, i)"),
        5 => format!(
            "CREATE TRIGGER IF NOT EXISTS {schema}.gone{n} AFTER DELETE ON t{n}
                 BEGIN UPDATE t{n} SET a = a || '!' WHERE i = old.i + 1; END"
        ),
        6 => format!(
            "ALTER TABLE {table} ADD COLUMN d{} INT DEFAULT 5",
            random.below(4)
        ),
        _ => format!("ALTER TABLE {table} RENAME TO t{}", random.below(3)),
    }
}

fn change(random: &mut Random, table: &str, key: u64) -> String {
    let bytes = match random.below(6) {
        0 => random.below(9000),
        _ => random.below(200),
    };
    let number = random.below(1000);
    let or = ["", "", "OR IGNORE", "OR FAIL", "OR ROLLBACK", "OR REPLACE"];
    let or = or[random.below(6) as usize];
    match random.below(10) {
        0..=3 => format!(
            "INSERT {or} INTO {table}(i, a, b, c) VALUES ({key}, hex(zeroblob({})), {number},
                 zeroblob({bytes}))",
            bytes % 90
        ),
        4..=5 => format!(
            "WITH RECURSIVE n(i) AS (SELECT {key} UNION ALL SELECT i + 1 FROM n WHERE i < {})
             INSERT {or} INTO {table}(i, a, b, c)
                 SELECT i, 'row ' || i, i * 7 % 1000, zeroblob({bytes}) FROM n",
            key + random.below(40)
        ),
        6..=7 => format!(
            "UPDATE {or} {table} SET a = a || 'x', b = b + {}, c = zeroblob({bytes}) WHERE i % 7 = {}",
            number % 3,
            key % 7
        ),
        _ => format!(
            "DELETE FROM {table} WHERE i BETWEEN {key} AND {}",
            key + random.below(80)
        ),
    }
}
