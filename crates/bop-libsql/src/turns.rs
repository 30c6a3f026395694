//! Turns: the connections that want to write to a database get it one after the other, and none waits
//! for itself.
//!
//! SQLite waits for a writer by asking again and again, with pauses in between. Here the pause is the
//! wait for one's turn: it ends when the turn comes, and the turn is kept until SQLite asks again.
//!
//! ```text
//!   begin_write: busy --> pause: the place of its ticket --turn came--> kept --begin_write--> writes
//!     ^                      |                                           |
//!     '---- pause is over ---'                        does not come back '--> the next one's turn
//! ```
//!
//! Invariants
//! - a connection keeps its ticket from the first busy answer until it writes, or until it was not seen
//!   for [`TICKET_LIFE`];
//! - a turn that is kept is used by the next write of its connection, or given back when that reads; after
//!   [`TURN_LIFE`] whoever is refused for it gives it back;
//! - no wait closes a cycle: who would, does not wait. A connection waits for one database at a time,
//!   and leaves the list of those who wait before it does anything else.
//!
//! Never: held while the engine or SQLite is called, but for the wait itself, which holds no lock.

use bop_storage::error::BeginError;
use bop_storage::ids::DbId;
use bop_storage::{Db, WriterTicket, WriterTurn};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// SQLite's own pauses are at most a tenth of a second.
const TICKET_LIFE: Duration = Duration::from_secs(1);
/// From its turn to its next call a connection needs microseconds.
const TURN_LIFE: Duration = Duration::from_secs(1);
/// An interrupt is noticed after so long.
const SLICE: Duration = Duration::from_millis(10);

static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// Number of a connection in this process.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ConnectionId(u64);

impl ConnectionId {
    /// One that no other connection has.
    pub(crate) fn new() -> Self {
        Self(CONNECTIONS.fetch_add(1, Ordering::Relaxed))
    }
}

/// Who writes and who waits in a store.
#[derive(Default)]
pub(crate) struct Turns {
    seats: Mutex<HashMap<DbId, Weak<Seat>>>,
    waits: Mutex<HashMap<ConnectionId, Arc<Seat>>>,
}

/// The writer's seat of a database.
struct Seat {
    db: Db,
    /// The connection that took it last; 0 when it stood up. Exact for that connection alone.
    writer: AtomicU64,
    kept: Mutex<Option<Kept>>,
}

/// A turn that has come.
struct Kept {
    of: ConnectionId,
    turn: WriterTurn,
    since: Instant,
}

/// What one pager has to do with its database's seat.
pub(crate) struct Place {
    turns: Arc<Turns>,
    connection: ConnectionId,
    seat: Arc<Seat>,
    ticket: Mutex<Option<(WriterTicket, Instant)>>,
    has_turn: AtomicBool,
}

impl Turns {
    /// The place of a connection at the seat of a database.
    pub(crate) fn place(self: &Arc<Self>, connection: ConnectionId, db: &Db) -> Arc<Place> {
        let mut seats = self.seats.lock();
        let known = seats.get(&db.id()).and_then(Weak::upgrade);
        let seat = known.unwrap_or_else(|| {
            seats.retain(|_, seat| seat.strong_count() > 0);
            let seat = Arc::new(Seat {
                db: db.clone(),
                writer: AtomicU64::new(0),
                kept: Mutex::default(),
            });
            seats.insert(db.id(), Arc::downgrade(&seat));
            seat
        });
        Arc::new(Place {
            turns: Arc::clone(self),
            connection,
            seat,
            ticket: Mutex::default(),
            has_turn: AtomicBool::new(false),
        })
    }

    /// Enters the wait of `connection` for `seat`, unless everybody would wait for it then.
    fn enter(&self, connection: ConnectionId, seat: &Arc<Seat>) -> bool {
        let mut waits = self.waits.lock();
        let mut next = Some(seat);
        for _ in 0..=waits.len() {
            let Some(wanted) = next else { break };
            let writer = ConnectionId(wanted.writer.load(Ordering::Acquire));
            if writer == connection {
                return false;
            }
            next = waits.get(&writer);
        }
        waits.insert(connection, Arc::clone(seat));
        true
    }
}

impl Place {
    /// Takes the turn that is kept for it.
    pub(crate) fn take_turn(&self) -> Option<WriterTurn> {
        if !self.has_turn.swap(false, Ordering::Relaxed) {
            return None;
        }
        let mut kept = self.seat.kept.lock();
        match kept.take() {
            Some(mine) if mine.of == self.connection => Some(mine.turn),
            other => {
                *kept = other;
                None
            }
        }
    }

    /// Its connection writes.
    pub(crate) fn sit(&self) {
        self.seat.writer.store(self.connection.0, Ordering::Release);
        *self.ticket.lock() = None;
    }

    /// Its connection does not write any more.
    pub(crate) fn stand_up(&self) {
        let writer = &self.seat.writer;
        // The next one may sit already.
        let _ = writer.compare_exchange(self.connection.0, 0, Ordering::Release, Ordering::Relaxed);
    }

    /// A turn is kept for it.
    pub(crate) fn has_turn(&self) -> bool {
        self.has_turn.load(Ordering::Relaxed)
    }

    /// Waits for its turn, at most so long, and keeps it. Returns at once when it is `interrupted`, and
    /// when those who write wait for this connection.
    pub(crate) fn await_turn(&self, wait: Duration, interrupted: impl Fn() -> bool) {
        if self.turns.enter(self.connection, &self.seat) {
            let _wait = Wait(self);
            self.give_back_forgotten();
            let ticket = self.ticket();
            let deadline = Instant::now() + wait;
            while !interrupted() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                match self.seat.db.await_writer_turn(ticket, left.min(SLICE)) {
                    Ok(turn) => {
                        self.keep(turn);
                        break;
                    }
                    Err(BeginError::Busy) => {}
                    // SQLite asks again and is told.
                    Err(_) => break,
                }
            }
        }
    }

    fn ticket(&self) -> WriterTicket {
        let (mut ticket, now) = (self.ticket.lock(), Instant::now());
        let fresh = ticket.filter(|(_, seen)| now.duration_since(*seen) < TICKET_LIFE);
        let (mine, _) = fresh.unwrap_or_else(|| (self.seat.db.writer_ticket(), now));
        *ticket = Some((mine, now));
        mine
    }

    fn keep(&self, turn: WriterTurn) {
        let kept = Kept {
            of: self.connection,
            turn,
            since: Instant::now(),
        };
        *self.seat.kept.lock() = Some(kept);
        self.has_turn.store(true, Ordering::Relaxed);
    }

    /// Ends a turn that somebody else does not come back to.
    pub(crate) fn give_back_forgotten(&self) {
        let is_forgotten = |kept: &mut Kept| kept.since.elapsed() > TURN_LIFE;
        let forgotten = self.seat.kept.lock().take_if(is_forgotten);
        drop(forgotten);
    }
}

/// While it lives the connection is among those who wait.
struct Wait<'a>(&'a Place);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.turns.waits.lock().remove(&self.0.connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Store};
    use bop_storage::DbKind;

    const LONG: Duration = Duration::from_secs(30);

    fn new_db() -> (tempfile::TempDir, Store, Db) {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Store::open(dir.path(), Options::new()).unwrap();
        let db = store
            .manager()
            .create_database("a", DbKind::Sqlite)
            .unwrap();
        (dir, store, db)
    }

    fn is_free(db: &Db) -> bool {
        db.begin_write(Duration::ZERO).is_ok()
    }

    #[test]
    fn a_turn_is_for_one_connection_and_goes_on_when_it_is_forgotten() {
        let (_dir, _store, db) = new_db();
        let turns = Arc::new(Turns::default());
        let [mine, other] = [0, 1].map(|_| turns.place(ConnectionId::new(), &db));
        mine.await_turn(LONG, || false);
        assert!(mine.has_turn() && !is_free(&db));
        assert!(other.take_turn().is_none());
        drop(mine.take_turn().unwrap());
        assert!(!mine.has_turn() && is_free(&db));

        mine.await_turn(LONG, || false);
        if let Some(kept) = mine.seat.kept.lock().as_mut() {
            kept.since -= 2 * TURN_LIFE;
        }
        other.await_turn(LONG, || false);
        assert!(other.has_turn());
        assert!(mine.take_turn().is_none());
        assert!(other.take_turn().is_some());
    }

    #[test]
    fn a_wait_that_would_be_for_oneself_is_none() {
        let (_dir, store, a) = new_db();
        let names = ["b", "c"];
        let [b, c] = names.map(|name| {
            let manager = store.manager();
            manager.create_database(name, DbKind::Sqlite).unwrap()
        });
        let turns = Arc::new(Turns::default());
        let ids = [0; 3].map(|_| ConnectionId::new());
        let places = ids.map(|id| [&a, &b, &c].map(|db| turns.place(id, db)));
        for (nth, place) in places.iter().enumerate() {
            place[nth].sit();
        }
        let seat = |nth: usize| &places[0][nth].seat;
        assert!(turns.enter(ids[0], seat(1)));
        assert!(turns.enter(ids[1], seat(2)));
        assert!(!turns.enter(ids[2], seat(0)), "a waits for b, b for c");
        assert!(!turns.enter(ids[2], seat(1)));
        drop(Wait(&places[0][1]));
        assert!(turns.enter(ids[2], seat(0)), "nobody waits for b any more");
        places[2][2].stand_up();
        drop(Wait(&places[2][0]));
        assert!(turns.enter(ids[2], seat(1)));
    }
}
