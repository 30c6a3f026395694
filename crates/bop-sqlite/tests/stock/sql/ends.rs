//! How a client's SQL ends: with its deadline, its client, or the program.

use super::{answer, begun, connect, of, open_here, refused, run_in, writing};
use bop_control::{Client, Mode, SqlPiece};
use bop_libsql::damage_found;
use bop_storage::error::ErrorCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The server gives those inside five seconds; nobody is to need them.
const SOON: Duration = Duration::from_secs(4);

/// More than anybody waits for.
const ENDLESS: &str =
    "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";

#[test]
fn a_query_that_does_not_end_is_ended_by_its_deadline_and_by_its_client() {
    let Some(mut owner) = begun(&[("BOP_SQL_DEADLINE_SECONDS", "1")]) else {
        return;
    };
    let mut client = connect(&owner, &of("orders")).unwrap();
    let no = refused(&mut client, ENDLESS);
    assert_eq!(no.failure.code, ErrorCode::Timeout, "{no:?}");
    assert_eq!(answer(&mut client, "select 'on'"), "on\n");
    drop(client);
    // The one that accepts is left.
    owner.serves(1);
    owner.does("end()");

    let Some(mut owner) = begun(&[]) else {
        return;
    };
    let mut client = connect(&owner, &of("orders")).unwrap();
    // Its first row shows that it runs; nobody takes a second one.
    let mut leaves = Leaves;
    let piece = SqlPiece {
        sql: format!("select hex(zeroblob(200000)); {ENDLESS}"),
        mode: Mode::List,
        header: false,
    };
    assert!(client.run(piece, &mut leaves).unwrap_err().reader_left);
    drop(client);
    owner.serves(1);
    owner.does("end()");
}

/// An output that nobody reads.
struct Leaves;

impl std::io::Write for Leaves {
    fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_program_closes_its_last_connection_and_no_session_keeps_the_store() {
    let Some(mut owner) = begun(&[]) else {
        return;
    };
    for _ in 0..3 {
        owner.does("connection.execute('DELETE FROM t')");
        let mut idle = connect(&owner, &writing("orders")).unwrap();
        answer(&mut idle, "begin immediate; insert into t values (1)");
        let mut reads = connect(&owner, &of("orders")).unwrap();
        answer(&mut reads, "begin; select count(*) from t");
        let mut runs = connect(&owner, &of("orders")).unwrap();
        let running = std::thread::spawn(move || run_in(&mut runs, Mode::List, ENDLESS));
        // The thread that accepts, and three.
        owner.serves(4);
        let began = Instant::now();
        assert_eq!(owner.does("end()"), "closed");
        let took = began.elapsed();
        assert!(took < SOON, "it took {took:?}");
        assert!(!owner.has_socket());
        assert!(running.join().unwrap().is_err());
        let no = run_in(&mut reads, Mode::List, "select 1").unwrap_err();
        assert_eq!(no.code, ErrorCode::Control, "{no}");
        owner.serves(0);
        // Another process may have it, and nothing was left of the open transaction.
        let store = open_here(&owner.place.store());
        let count = "select count(*) from t";
        let of_orders = store.connect("orders").unwrap();
        let rows: i64 = of_orders.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0);
        drop(of_orders);
        store.manager().close(SOON).unwrap();
        drop(store);
        assert_eq!(owner.does("begin()"), "open");
    }
    owner.does("end()");
}

#[test]
fn a_child_that_is_forked_off_keeps_no_session() {
    let Some(mut owner) = begun(&[]) else {
        return;
    };
    let mut client = connect(&owner, &writing("orders")).unwrap();
    answer(&mut client, "begin immediate; insert into t values (1)");
    assert_eq!(owner.does("fork()"), "forked");
    assert_eq!(answer(&mut client, "commit; select x from t"), "1\n");
    assert_eq!(owner.does("end()"), "closed");
    let no = run_in(&mut client, Mode::List, "select 1").unwrap_err();
    assert_eq!(no.code, ErrorCode::Control, "{no}");
    assert_eq!(owner.does("let_go()"), "gone");
    assert_eq!(owner.does("begin()"), "open");
    assert_eq!(owner.does("one(connection, 'SELECT x FROM t')"), "1");
    owner.does("end()");
}

#[test]
fn clients_come_and_go_while_the_program_opens_and_closes() {
    let Some(mut owner) = begun(&[]) else {
        return;
    };
    let (over, store) = (AtomicBool::new(false), owner.place.store());
    let ask = |turn: usize| {
        let client = Client::connect(&store).ok().flatten()?;
        let mut client = client.sql(&writing("orders")).ok()?;
        let sql = [
            "insert into t values (1)",
            "begin; select 1 from t",
            ENDLESS,
        ][turn % 3];
        let (_, no) = run_in(&mut client, Mode::List, sql).ok()?;
        no.is_none().then_some(usize::from(turn.is_multiple_of(3)))
    };
    let (told, mut rounds) = (AtomicUsize::new(0), 0);
    std::thread::scope(|scope| {
        for first in 0..4 {
            let (over, ask, told) = (&over, &ask, &told);
            scope.spawn(move || {
                let turns = (first..).take_while(|_| !over.load(Ordering::Acquire));
                for written in turns.filter_map(ask) {
                    told.fetch_add(written, Ordering::AcqRel);
                }
            });
        }
        // A busy machine lets a client in between more rarely.
        while rounds < 25 || told.load(Ordering::Acquire) == 0 && rounds < 1000 {
            owner.does("pairs(3)");
            assert_eq!(owner.does("end()"), "closed");
            assert_eq!(owner.does("begin()"), "open");
            rounds += 1;
        }
        over.store(true, Ordering::Release);
        owner.does("end()");
    });
    owner.serves(0);
    // What a client was told of is there, and whatever it was not told of, whole.
    let store = open_here(&store);
    let orders = store.connect("orders").unwrap();
    let count = "select count(*) from t where x = 1 or x = -1";
    let ones = |sql: &str| {
        orders
            .query_row(sql, [], |row| row.get::<_, usize>(0))
            .unwrap()
    };
    let (written, found) = (told.into_inner(), ones(count));
    assert!(0 < written, "no client came in between");
    assert!(
        rounds * 2 + written <= found,
        "{found} rows of {rounds} rounds, and clients were told of {written}"
    );
    assert_eq!(damage_found(&orders, 1).unwrap(), Vec::<String>::new());
}
