//! Claims: which connection writes to which database, and which one waits for it.
//!
//! SQLite waits for a writer by asking again, from its busy handler. So a wait is known by its newest
//! question, and is over when none has come for a while:
//!
//! ```text
//!   1 holds A, asks for B ----> waits        2 holds B, asks for A: 1 waits for 2 -> deadlock, at once
//!                 '-- gets it, or asks no more --> does not wait
//! ```
//! Invariant: what is held is entered with the writer slot and left before it is free again.
//!
//! Never: waits, or refuses anybody who is in no circle.

use bop_storage::DbId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// SQLite's own busy handler asks at least every tenth of a second.
const ASKS_AT_LEAST: Duration = Duration::from_millis(300);

/// A connection of SQLite, by its address; 0 where that is not known.
pub(crate) type Connection = usize;

/// The claims on the databases of one store.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    held: HashMap<DbId, Connection>,
    asked: HashMap<Connection, (DbId, Instant)>,
}

impl Claims {
    /// The connection got the database.
    pub(crate) fn hold(&self, connection: Connection, database: DbId) {
        let mut lists = self.0.lock();
        lists.asked.remove(&connection);
        lists.held.insert(database, connection);
    }

    /// The connection gives it back.
    pub(crate) fn leave(&self, database: DbId) {
        self.0.lock().held.remove(&database);
    }

    /// The connection could not get the database now. `true` when it never will: whoever has it waits for
    /// this connection.
    pub(crate) fn ask(&self, connection: Connection, database: DbId, now: Instant) -> bool {
        if connection == 0 {
            return false;
        }
        let mut lists = self.0.lock();
        lists
            .asked
            .retain(|_, (_, when)| now.saturating_duration_since(*when) < ASKS_AT_LEAST);
        let mut wanted = database;
        // Nobody waits for two at once, so the way is at most as long as there are waits.
        for _ in 0..=lists.asked.len() {
            match lists.held.get(&wanted) {
                Some(holder) if *holder == connection && wanted != database => {
                    lists.asked.remove(&connection);
                    return true;
                }
                Some(holder) => match lists.asked.get(holder) {
                    Some((next, _)) => wanted = *next,
                    None => break,
                },
                None => break,
            }
        }
        lists.asked.insert(connection, (database, now));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: DbId = DbId::new(1);
    const B: DbId = DbId::new(2);
    const C: DbId = DbId::new(3);

    #[test]
    fn two_that_wait_for_each_other_are_told_at_once() {
        let (claims, now) = (Claims::default(), Instant::now());
        claims.hold(1, A);
        claims.hold(2, B);
        assert!(!claims.ask(1, B, now));
        assert!(claims.ask(2, A, now));
        // The first one still waits, and gets it.
        claims.leave(B);
        assert!(!claims.ask(1, B, now));
        claims.hold(1, B);
        assert!(!claims.ask(2, A, now));
    }

    #[test]
    fn a_circle_of_three_is_found_and_a_line_is_none() {
        let (claims, now) = (Claims::default(), Instant::now());
        claims.hold(1, A);
        claims.hold(2, B);
        claims.hold(3, C);
        assert!(!claims.ask(1, B, now));
        assert!(!claims.ask(2, C, now));
        assert!(!claims.ask(4, A, now));
        assert!(claims.ask(3, A, now));
    }

    #[test]
    fn whoever_asks_no_more_does_not_wait() {
        let (claims, now) = (Claims::default(), Instant::now());
        claims.hold(1, A);
        claims.hold(2, B);
        assert!(!claims.ask(1, B, now));
        assert!(!claims.ask(2, A, now + ASKS_AT_LEAST));
    }

    #[test]
    fn another_handle_of_the_same_connection_is_no_circle() {
        let (claims, now) = (Claims::default(), Instant::now());
        claims.hold(1, A);
        assert!(!claims.ask(1, A, now));
        assert!(!claims.ask(0, A, now));
    }
}
