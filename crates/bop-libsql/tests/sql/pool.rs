//! Pools: connections for many threads, and for tasks that must not wait.

use crate::common::{code_of, int, new_store};
use bop_libsql::{AsyncPool, Connection, OpenOptions, Pool, PoolError, PoolOptions, Store};
use bop_storage::{At, ErrorCode};
use rusqlite::ffi;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::time::Duration;

fn of(store: &Store, connections: usize) -> Pool {
    let options = PoolOptions::new()
        .connections_max(connections)
        .wait(Duration::from_secs(60))
        .open(OpenOptions::new().busy_timeout(Duration::from_secs(60)));
    Pool::with(store, "a", options)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    // What may not leave the thread is a task of this thread.
    tokio::task::LocalSet::new().block_on(&runtime.unwrap(), future)
}

#[test]
fn a_connection_comes_back_without_its_transaction_and_the_limit_is_kept() {
    let (_dir, store) = new_store();
    let options = PoolOptions::new()
        .connections_max(2)
        .wait(Duration::from_millis(1));
    let pool = Pool::with(&store, "a", options);
    assert_eq!(pool.open_connections(), 0);
    let (first, second) = (pool.get().unwrap(), pool.get().unwrap());
    first
        .execute_batch("CREATE TABLE t(x); BEGIN; INSERT INTO t VALUES (1)")
        .unwrap();
    let third = pool.get().unwrap_err();
    assert!(matches!(third, PoolError::Timeout { .. }), "{third}");
    drop(first);
    let again = pool.get().unwrap();
    assert!(again.is_autocommit());
    second.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(int(&again, "SELECT sum(x) FROM t"), 2);
    assert_eq!(pool.open_connections(), 2);
}

#[test]
fn a_pool_whose_database_cannot_be_opened_says_so_each_time() {
    let (_dir, store) = new_store();
    let options = PoolOptions::new()
        .connections_max(1)
        .open(OpenOptions::new().create(false));
    let pool = Pool::with(&store, "missing", options);
    for _ in 0..3 {
        assert_eq!(pool.get().unwrap_err().code(), ErrorCode::DatabaseNotFound);
    }
    store.connect("missing").unwrap();
    pool.get().unwrap();
}

#[test]
fn whoever_waits_gets_the_connection_of_one_that_panicked() {
    let (_dir, store) = new_store();
    let pool = of(&store, 1);
    pool.get()
        .unwrap()
        .execute_batch("CREATE TABLE t(x)")
        .unwrap();
    let (held, is_held) = mpsc::channel();
    std::thread::scope(|scope| {
        let panics = scope.spawn(|| {
            let connection = pool.get().unwrap();
            connection
                .execute_batch("BEGIN; INSERT INTO t VALUES (1)")
                .unwrap();
            held.send(()).unwrap();
            panic!("with a transaction");
        });
        is_held.recv().unwrap();
        let connection = pool.get().unwrap();
        assert!(panics.join().is_err());
        assert_eq!(int(&connection, "SELECT count(*) FROM t"), 0);
        connection
            .execute_batch("INSERT INTO t VALUES (2)")
            .unwrap();
    });
    assert_eq!(pool.open_connections(), 1);
}

/// Everything here is on one thread. The one that writes ends only when the clock has ticked twenty
/// times, while all others wait for their turn to write: were any of them to wait on this thread, no
/// tick would ever come.
#[test]
fn a_runtime_of_one_thread_ticks_on_under_sixty_four_committing_connections() {
    const CONNECTIONS: i64 = 64;
    const COMMITS: i64 = 20;
    const TICKS: u64 = 20;
    let (_dir, store) = new_store();
    let pool = AsyncPool::new(of(&store, CONNECTIONS as usize));
    block_on(async {
        pool.run(|connection| connection.execute_batch("CREATE TABLE t(x)"))
            .await
            .unwrap()
            .unwrap();
        let ticks = Rc::new(Cell::new(0_u64));
        let (go, may_go) = mpsc::channel();
        let clock = {
            let ticks = Rc::clone(&ticks);
            tokio::task::spawn_local(async move {
                let mut clock = tokio::time::interval(Duration::from_millis(10));
                loop {
                    clock.tick().await;
                    ticks.set(ticks.get() + 1);
                    if ticks.get() == TICKS {
                        go.send(()).unwrap();
                    }
                }
            })
        };
        let first = pool.run(move |connection| {
            connection.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")?;
            may_go.recv().unwrap();
            connection.execute_batch("COMMIT")
        });
        let first = tokio::task::spawn_local(first);
        let others: Vec<_> = (1..CONNECTIONS)
            .map(|_| {
                let pool = pool.clone();
                tokio::task::spawn_local(async move {
                    for _ in 0..COMMITS {
                        pool.run(insert).await.unwrap().unwrap();
                    }
                })
            })
            .collect();
        first.await.unwrap().unwrap().unwrap();
        let when_first_ended = ticks.get();
        for other in others {
            other.await.unwrap();
        }
        clock.abort();
        assert!(when_first_ended >= TICKS);
        // The commits of one database follow each other, a few thousand in a second at most.
        let commits = CONNECTIONS * COMMITS;
        println!("{} ticks, {commits} commits", ticks.get());
        assert!(ticks.get() > TICKS, "no tick while the others committed");
    });
    let rows = int(&store.connect("a").unwrap(), "SELECT count(*) FROM t");
    assert_eq!(rows, 1 + (CONNECTIONS - 1) * COMMITS);
}

fn insert(connection: &mut Connection) -> rusqlite::Result<usize> {
    connection.execute("INSERT INTO t VALUES (1)", [])
}

#[test]
fn a_panic_and_an_error_of_the_work_are_answers_and_the_pool_goes_on() {
    let (_dir, store) = new_store();
    let pool = AsyncPool::new(of(&store, 1));
    block_on(async {
        let panicked = pool.run(|connection| {
            connection
                .execute_batch("CREATE TABLE t(x); BEGIN; INSERT INTO t VALUES (1)")
                .unwrap();
            panic!("number {}", 7);
        });
        let panicked: Result<(), PoolError> = panicked.await;
        let error = panicked.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Panic);
        assert!(error.to_string().ends_with("number 7"), "{error}");
        let failed = pool
            .run(|connection| connection.execute_batch("SELECT * FROM none"))
            .await;
        assert_eq!(code_of(failed.unwrap()), ffi::SQLITE_ERROR);
        let rows = pool
            .run(|connection| int(connection, "SELECT count(*) FROM t"))
            .await;
        assert_eq!(rows.unwrap(), 0);
    });
}

#[test]
fn work_that_nobody_waits_for_is_not_begun_and_what_is_queued_is_done() {
    let (_dir, store) = new_store();
    let pool = AsyncPool::new(of(&store, 1));
    block_on(async {
        let (go, may_go) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let blocks = tokio::task::spawn_local(pool.run(move |connection| {
            connection.execute_batch("CREATE TABLE t(x)")?;
            begun.send(()).unwrap();
            may_go.recv().unwrap();
            Ok::<(), rusqlite::Error>(())
        }));
        has_begun.await.unwrap();
        // Not polled, polled and dropped, and queued.
        drop(pool.run(insert));
        let mut given_up = pool.run(insert);
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut given_up).poll(&mut nobody).is_pending());
        drop(given_up);
        let queued = tokio::task::spawn_local(pool.run(insert));
        tokio::task::yield_now().await;
        let late = pool.run(insert);
        drop(pool);
        go.send(()).unwrap();
        blocks.await.unwrap().unwrap().unwrap();
        assert_eq!(queued.await.unwrap().unwrap().unwrap(), 1);
        let error = late.await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Closed, "{error}");
    });
    assert_eq!(
        int(&store.connect("a").unwrap(), "SELECT count(*) FROM t"),
        1
    );
}

#[test]
fn a_pool_goes_on_with_the_database_that_has_its_name() {
    let (_dir, store) = new_store();
    let (manager, pool) = (store.manager(), of(&store, 2));
    let sum = || int(&pool.get().unwrap(), "SELECT sum(x) FROM t");
    let run = |sql: &str| pool.get().unwrap().execute_batch(sql).unwrap();
    run("CREATE TABLE t(x); INSERT INTO t VALUES (1)");
    manager.snapshot_database("a", "good", &At::Now).unwrap();
    run("INSERT INTO t VALUES (2)");
    // Two of them lie idle.
    drop((pool.get().unwrap(), pool.get().unwrap()));
    let at = At::Snapshot("good".to_owned());
    manager.restore_database("a", &at).unwrap();
    assert_eq!(sum(), 1);
    assert_eq!(pool.open_connections(), 2);
    // One is in use.
    let used = pool.get().unwrap();
    manager.drop_database("a").unwrap();
    assert!(used.execute_batch("SELECT sum(x) FROM t").is_err());
    drop(used);
    run("CREATE TABLE t(x); INSERT INTO t VALUES (3)");
    assert_eq!(sum(), 3);
    assert!(pool.open_connections() <= 2);
}

/// Panics when it is dropped.
struct Undroppable;

impl Drop for Undroppable {
    fn drop(&mut self) {
        panic!("a value that cannot be dropped");
    }
}

#[test]
fn work_that_panics_where_nobody_waits_for_it_takes_no_thread_along() {
    let (_dir, store) = new_store();
    let tasks = AsyncPool::new(of(&store, 1));
    let (goes_on, wait) = mpsc::channel::<()>();
    let mut first = Box::pin(tasks.run(move |_| wait.recv()));
    let value = Undroppable;
    let mut second = Box::pin(tasks.run(move |_| std::mem::forget(value)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    drop(second);
    goes_on.send(()).unwrap();
    block_on(first).unwrap().unwrap();
    let third = tasks.run(|_| 3);
    let third = block_on(async { tokio::time::timeout(Duration::from_secs(60), third).await });
    assert_eq!(third.unwrap().unwrap(), 3);
}
