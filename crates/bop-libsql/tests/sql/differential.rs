//! The same random statements to a database of a store and to one in memory: same answers.

use crate::common::{Random, integrity, new_store};
use rusqlite::Connection;
use std::fmt::Write;

const STATEMENTS: u32 = 600;

#[test]
fn random_statements_have_the_same_effect_as_in_memory() {
    for page_size in [512, 1024, 4096, 65_536] {
        let mut random = Random::new();
        let (_dir, store) = new_store();
        let ours = store.connect("a").unwrap();
        let memory = Connection::open_in_memory().unwrap();
        memory
            .execute_batch("PRAGMA foreign_keys = 0; PRAGMA recursive_triggers = 0")
            .unwrap();
        let auto_vacuum = random.below(3);
        for connection in [&*ours, &memory] {
            connection
                .execute_batch(&format!(
                    "PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum};
                     PRAGMA cache_size = 10;
                     CREATE TABLE t(i INTEGER PRIMARY KEY, a TEXT, b INT UNIQUE, c BLOB);
                     CREATE INDEX by_a ON t(a);"
                ))
                .unwrap();
        }
        let mut depth = 0u64;
        for n in 0..STATEMENTS {
            let sql = statement(&mut random, &mut depth);
            let (mine, theirs) = (run(&ours, &sql), run(&memory, &sql));
            assert_eq!(
                mine, theirs,
                "statement {n} at page size {page_size}: {sql}"
            );
            if ours.is_autocommit() {
                depth = 0;
            }
            assert_eq!(ours.is_autocommit(), memory.is_autocommit(), "after {sql}");
        }
        for connection in [&*ours, &memory] {
            let _ = connection.execute_batch("ROLLBACK");
        }
        let all = "SELECT * FROM t ORDER BY i";
        assert_eq!(run(&ours, all), run(&memory, all));
        assert_eq!(integrity(&ours), "ok");
        let second = store.connect("a").unwrap();
        assert_eq!(
            run(&second, all),
            run(&memory, all),
            "seen from another connection"
        );
        assert_eq!(integrity(&second), "ok");
    }
}

/// The next statement; `depth` counts the savepoints that may be open.
fn statement(random: &mut Random, depth: &mut u64) -> String {
    let key = random.below(400);
    let bytes = random.below(3000);
    match random.below(24) {
        0..=4 => format!(
            "INSERT INTO t VALUES ({key}, hex(zeroblob({})), {}, zeroblob({bytes}))",
            bytes % 300,
            random.below(1000)
        ),
        5..=6 => format!(
            "WITH RECURSIVE n(i) AS (SELECT {key} UNION ALL SELECT i + 1 FROM n WHERE i < {})
             INSERT OR IGNORE INTO t SELECT i, 'row ' || i, i * 7 % 1000, zeroblob({bytes}) FROM n",
            key + random.below(60)
        ),
        7..=8 => format!(
            "UPDATE t SET a = a || 'x', c = zeroblob({bytes}) WHERE i % 7 = {}",
            key % 7
        ),
        9 => format!("UPDATE t SET b = b + {} WHERE i > {key}", random.below(5)),
        10 => format!(
            "DELETE FROM t WHERE i BETWEEN {key} AND {}",
            key + random.below(80)
        ),
        11 => format!(
            "REPLACE INTO t VALUES ({key}, 'replaced', {}, NULL)",
            random.below(1000)
        ),
        12..=13 => "SELECT count(*), sum(length(c)), sum(b), max(a) FROM t".to_owned(),
        14 => format!("SELECT i, b FROM t WHERE a > '{key}' ORDER BY a, i LIMIT 20"),
        15 => "BEGIN".to_owned(),
        16 => "COMMIT".to_owned(),
        17 => "ROLLBACK".to_owned(),
        18..=19 => {
            *depth += 1;
            format!("SAVEPOINT s{depth}")
        }
        20 => format!("ROLLBACK TO s{}", random.below(*depth + 1)),
        21 => format!("RELEASE s{}", random.below(*depth + 1)),
        22 => ["VACUUM", "PRAGMA incremental_vacuum(5)", "REINDEX"][random.below(3) as usize]
            .to_owned(),
        _ => format!(
            "CREATE TABLE IF NOT EXISTS extra{} AS SELECT * FROM t",
            key % 3
        ),
    }
}

/// What a statement answers, rows and errors, as text.
fn run(connection: &Connection, sql: &str) -> String {
    let mut answer = String::new();
    let result = (|| {
        let mut statement = connection.prepare(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                let value: rusqlite::types::Value = row.get(column)?;
                let _ = write!(answer, "{value:?}|");
            }
            answer.push('\n');
        }
        Ok::<(), rusqlite::Error>(())
    })();
    if let Err(error) = result {
        let _ = write!(answer, "{error}");
    }
    answer
}
