//! The ways in which leadership, deadlines and the end of the log can meet.

use super::super::format::encode_close;
use super::super::lead::CROWD_RECORDS_MIN;
use super::super::member::Remains;
use super::super::rig::{LONG, append, log, log_within, note, threaded, until_nobody_leads};
use super::super::state::{Background, State};
use super::super::ticket::Answer;
use super::*;
use crate::io::IoOp;
use crate::limits::Limits;
use crate::testing::{Fault, SimDisk};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::Waker;
use std::thread;

fn wait_for_records(log: &Log, count: usize) {
    while log.backlog().queued_records != count {
        thread::yield_now();
    }
}

#[test]
fn a_waiter_that_is_made_leader_as_its_deadline_passes_leads() {
    let log = log(&SimDisk::new(1), LONG);
    let shared = log.shared();
    // Somebody leads, and hands over just when this waiter's wait has timed out.
    shared.state.lock().turn = Turn::Led;
    let ticket = Ticket::new(Box::new(Silent));
    let order = (Priority::User, Waits::Thread);
    let taken = shared.enqueue(&Arc::new(note()), order, &ticket, false, Patience::Wait);
    let taken = taken.unwrap();
    assert!(!taken.leads);
    shared.hand_over();
    assert!(shared.give_up(&ticket, taken.at, Instant::now()).is_none());
    assert!(matches!(ticket.wait(Instant::now()), Answer::Lead));
    shared.lead(Some(&ticket));
    assert!(matches!(ticket.wait(Instant::now()), Answer::Done(Ok(_))));
    assert!(log.wait_until_quiet(Instant::now() + LONG));
    append(&log).unwrap();
}

#[test]
fn a_waiter_whose_deadline_passes_takes_its_record_back() {
    let disk = SimDisk::new(1);
    // Whoever came later than this after the write began would be told that it hangs.
    let log = log(&disk, Duration::from_secs(1));
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        let leader = scope.spawn(|| append(&log));
        disk.wait_until_hung(1);
        let waiter = append(&log).unwrap_err();
        assert!(
            matches!(waiter, CommitError::Rejected(Rejection::Timeout { .. })),
            "{waiter}"
        );
        assert!(!log.wait_until_quiet(Instant::now()));
        disk.release_hung();
        leader.join().unwrap().unwrap();
    });
    assert!(log.wait_until_quiet(Instant::now() + LONG));
    append(&log).unwrap();
}

#[test]
fn nothing_follows_the_last_record() {
    let log = log(&SimDisk::new(1), LONG);
    append(&log).unwrap();
    log.close();
    let refused = append(&log).unwrap_err();
    assert!(matches!(refused, CommitError::Rejected(Rejection::Closed)));
    let silent = || Box::new(Silent);
    log.append(note(), Priority::Housekeeping, silent())
        .unwrap();
    let last = log.append_last(encode_close(&[]).unwrap()).unwrap();
    let late = log
        .append(note(), Priority::Housekeeping, silent())
        .unwrap_err();
    assert!(matches!(late, CommitError::Rejected(Rejection::Closed)));
    assert!(log.append_last(encode_close(&[]).unwrap()).is_err());
    assert!(last.lsn < log.published());
}

/// Somebody has the turn of the log, and the committers of these records wait behind him: their tickets.
fn behind_a_leader(log: &Log, records: impl Iterator<Item = EncodedRecord>) -> Vec<Arc<Ticket>> {
    let shared = log.shared();
    shared.state.lock().turn = Turn::Led;
    let waiter = |record| {
        let ticket = Ticket::new(Box::new(Silent));
        let order = (Priority::User, Waits::Thread);
        let taken = shared.enqueue(&Arc::new(record), order, &ticket, false, Patience::Wait);
        assert!(!taken.unwrap().leads);
        ticket
    };
    records.map(waiter).collect()
}

/// The same with as many as a crowd has.
fn crowd_behind_a_leader(log: &Log) -> Vec<Arc<Ticket>> {
    behind_a_leader(log, (0..CROWD_RECORDS_MIN).map(|_| note()))
}

/// Each has its answer by now or soon, and need not lead for it.
fn are_done(tickets: &[Arc<Ticket>]) {
    for ticket in tickets {
        let answer = ticket.wait(Instant::now() + LONG);
        assert!(matches!(answer, Answer::Done(Ok(_))), "{answer:?}");
    }
}

#[test]
fn the_background_thread_leads_a_crowd() {
    let log = threaded(&SimDisk::new(1), Limits::tiny());
    let tickets = crowd_behind_a_leader(&log);
    log.shared().hand_over();
    are_done(&tickets);
    assert!(log.wait_until_quiet(Instant::now() + LONG));
    append(&log).unwrap();
}

/// A log whose background thread is in a write that does not return, which was overtaken.
fn log_with_a_hung_thread(disk: &SimDisk) -> Arc<Log> {
    let limits = Limits {
        stall_limit: Duration::from_millis(50),
        log_bytes_max: 1 << 30,
        ..Limits::tiny()
    };
    let log = threaded(disk, limits);
    let first = crowd_behind_a_leader(&log);
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    log.shared().hand_over();
    disk.wait_until_hung(1);
    are_done(&first);
    until_nobody_leads(&log);
    assert_eq!(log.shared().state.lock().background, Background::Hangs);
    log
}

#[test]
fn what_nobody_waits_for_is_written_while_the_background_thread_does_not_return() {
    let disk = SimDisk::new(1);
    let log = log_with_a_hung_thread(&disk);
    // What came while somebody else had the turn, and what comes when nobody has it.
    for turn in [Turn::Led, Turn::Free] {
        log.shared().state.lock().turn = turn;
        let future = log.append_async(note(), Priority::User, Box::new(Silent));
        let future = future.unwrap();
        if turn == Turn::Led {
            log.shared().hand_over();
        }
        future.wait(LONG).unwrap();
        until_nobody_leads(&log);
        log.shared().state.lock().turn = turn;
        let delay = Duration::from_millis(1);
        let relaxed = log.append_relaxed(note(), Priority::User, delay, Box::new(Silent));
        let lsn = relaxed.unwrap().lsn;
        if turn == Turn::Led {
            log.shared().hand_over();
        }
        while log.published() <= lsn {
            thread::yield_now();
        }
        until_nobody_leads(&log);
    }
    assert_eq!(log.shared().state.lock().background, Background::Hangs);
    disk.release_hung();
}

#[test]
fn the_background_thread_leads_again_when_its_write_returns_however_much_waits() {
    let disk = SimDisk::new(1);
    let log = log_with_a_hung_thread(&disk);
    let over = AtomicBool::new(false);
    // A full queue refuses some of them.
    let append = || {
        while !over.load(Ordering::Relaxed) {
            drop(log.append_async(note(), Priority::User, Box::new(Silent)));
        }
    };
    let wait_for = |is_so: &dyn Fn(&State) -> bool| {
        let deadline = Instant::now() + LONG;
        loop {
            let seen = is_so(&log.shared().state.lock());
            if seen || deadline < Instant::now() {
                return seen;
            }
            thread::yield_now();
        }
    };
    let leads_again = thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(append)));
        let stood_in = wait_for(&|state| state.turn == Turn::Led);
        disk.release_hung();
        let leads = wait_for(&|state| state.background == Background::Leads);
        over.store(true, Ordering::Relaxed);
        stood_in && leads
    });
    assert!(leads_again);
}

#[test]
fn who_gives_up_a_record_that_is_being_written_leaves_nothing_due() {
    let disk = SimDisk::new(1);
    let log = log(&disk, Duration::from_millis(20));
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        let leader = scope.spawn(|| append(&log));
        disk.wait_until_hung(1);
        let ticket = Ticket::new(Box::new(Silent));
        let at = Placed {
            lsn: Lsn::ZERO,
            time_us: 0,
        };
        let given_up = log.shared().give_up(&ticket, at, Instant::now()).unwrap();
        assert!(matches!(given_up, Err(CommitError::Unknown { .. })));
        assert_eq!(log.shared().state.lock().due_at, None);
        disk.release_hung();
        leader.join().unwrap().unwrap();
    });
}

#[test]
fn a_crowd_leads_itself_when_the_log_is_stopped() {
    let log = threaded(&SimDisk::new(1), Limits::tiny());
    assert!(log.stop(Instant::now() + LONG));
    let crowd = crowd_behind_a_leader(&log);
    log.shared().hand_over();
    let leader = crowd.first().unwrap();
    assert!(matches!(leader.wait(Instant::now() + LONG), Answer::Lead));
    log.shared().lead(Some(leader));
    are_done(&crowd);
}

#[test]
fn a_crowd_leads_itself_while_a_write_of_the_background_thread_does_not_return() {
    let disk = SimDisk::new(1);
    let log = log_with_a_hung_thread(&disk);
    let second = crowd_behind_a_leader(&log);
    log.shared().hand_over();
    let leader = second.first().unwrap();
    assert!(matches!(leader.wait(Instant::now() + LONG), Answer::Lead));
    log.shared().lead(Some(leader));
    are_done(&second);
    disk.release_hung();
    // It comes back, and is called again.
    while log.shared().state.lock().background == Background::Hangs {
        thread::yield_now();
    }
    let third = crowd_behind_a_leader(&log);
    log.shared().hand_over();
    are_done(&third);
}

/// A record with so many pages of 4 KiB.
fn pages(count: u32) -> EncodedRecord {
    use crate::checksum::{PageHash, RollingChecksum};
    use crate::ids::{DbId, PageNo, PageSize};
    use crate::log::format::record::Encoding;
    use crate::log::format::{FragmentPart, MemberSpec, PageImage, encode_pages};
    let content = [7; 4096];
    let images: Vec<_> = (1..=count)
        .filter_map(PageNo::new)
        .map(|page| PageImage {
            page,
            hash: PageHash::of(page, &content),
            encoding: Encoding::Raw,
            content: &content,
        })
        .collect();
    let member = MemberSpec {
        database: DbId::new(1),
        parent: Lsn::ZERO,
        rolling: RollingChecksum::EMPTY,
        page_count: count,
        page_count_min: 0,
        page_size: PageSize::DEFAULT,
        pages: &images,
    };
    encode_pages(FragmentPart::Whole, &[member]).unwrap()
}

#[test]
fn who_stands_in_writes_one_batch_and_hands_over() {
    let log = log(&SimDisk::new(1), LONG);
    // A batch takes 16 KiB: three of them.
    let tickets = behind_a_leader(&log, (0..9).map(|_| pages(1)));
    log.shared().lead_once();
    are_done(&tickets[..3]);
    let next = &tickets[3];
    assert!(matches!(next.wait(Instant::now() + LONG), Answer::Lead));
    assert_eq!(log.backlog().queued_records, 6);
    log.shared().lead(Some(next));
    are_done(&tickets[3..]);
}

#[test]
fn a_record_that_the_next_spare_does_not_take_gets_a_larger_one() {
    let limits = Limits {
        segment_bytes_max: 128 << 10,
        ..Limits::tiny()
    };
    // The three spares have 64 KiB, of which 52 are for batches; the active segment has a note.
    for count in [12, 13, 14, 15, 16, 28] {
        let log = log_within(&SimDisk::new(1), limits.clone());
        let record = pages(count);
        let bytes = record.bytes.len() as u64;
        let placed = log.append(record, Priority::User, Box::new(Silent));
        let lsn = placed
            .unwrap_or_else(|error| panic!("{count} pages: {error}"))
            .lsn;
        let last = lsn.advance(bytes - 1).unwrap();
        assert!(log.ring().locate(last).is_some(), "{count} pages");
        assert!(last < log.published());
        append(&log).unwrap();
    }
    let log = log_within(&SimDisk::new(1), limits);
    let spares = log.ring().spares().len();
    let refused = log
        .append(pages(29), Priority::User, Box::new(Silent))
        .unwrap_err();
    let too_large = matches!(refused, CommitError::Rejected(Rejection::TooLarge { .. }));
    assert!(too_large, "{refused}");
    assert_eq!(log.ring().spares().len(), spares);
    append(&log).unwrap();
}

/// Panics when its record is durable, as a bug in a publisher would.
struct Panics(mpsc::Receiver<()>);

impl Publish for Panics {
    fn publish(self: Box<Self>, _at: Placed) -> Remains {
        self.0.recv().unwrap();
        panic!("a publisher panics");
    }
}

#[test]
fn a_panic_of_a_publisher_answers_everybody_and_poisons() {
    let log = log(&SimDisk::new(1), LONG);
    let (go, wait) = mpsc::channel();
    thread::scope(|scope| {
        let leader = scope.spawn(|| log.append(note(), Priority::User, Box::new(Panics(wait))));
        while log.shared().state.lock().turn == Turn::Free {
            thread::yield_now();
        }
        let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| append(&log))).collect();
        wait_for_records(&log, 4);
        go.send(()).unwrap();
        let answer = leader.join().unwrap().unwrap_err();
        assert!(matches!(answer, CommitError::Unknown { .. }), "{answer}");
        for waiter in waiters {
            let answer = waiter.join().unwrap().unwrap_err();
            assert!(
                matches!(answer, CommitError::Rejected(Rejection::Poisoned(_))),
                "{answer}"
            );
        }
    });
    assert!(log.wait_until_quiet(Instant::now() + LONG));
    let cause = log.failure().unwrap();
    assert!(cause.to_string().contains("a publisher panics"), "{cause}");
    assert!(append(&log).is_err());
}

#[test]
fn a_committer_that_was_overtaken_keeps_the_log_from_being_quiet_until_the_kernel_lets_it_go() {
    let disk = SimDisk::new(1);
    let limits = Limits {
        stall_limit: Duration::from_millis(1),
        ..Limits::tiny()
    };
    let log = threaded(&disk, limits);
    let before = log.published();
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        let committer = scope.spawn(|| append(&log));
        disk.wait_until_hung(1);
        // Its batch is durable in another segment.
        assert!(log.wait_published(before, Instant::now() + LONG));
        until_nobody_leads(&log);
        assert!(!log.wait_until_quiet(Instant::now()));
        disk.release_hung();
        assert!(log.wait_until_quiet(Instant::now() + LONG));
        committer.join().unwrap().unwrap();
    });
}

/// Panics when somebody wakes it.
struct Unwakeable;

impl std::task::Wake for Unwakeable {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

#[test]
fn a_task_whose_waker_panics_keeps_nobody_from_his_answer() {
    let disk = SimDisk::new(1);
    let log = threaded(&disk, Limits::tiny());
    let waker = Waker::from(Arc::new(Unwakeable));
    let mut context = Context::from_waker(&waker);
    for _ in 0..2 {
        // Both wait behind a leader, so that one batch has them.
        log.shared().state.lock().turn = Turn::Led;
        let append = || log.append_async(note(), Priority::User, Box::new(Silent));
        let (mut first, second) = (append().unwrap(), append().unwrap());
        assert!(Pin::new(&mut first).poll(&mut context).is_pending());
        log.shared().hand_over();
        second.wait(LONG).unwrap();
        first.wait(LONG).unwrap();
    }
    assert!(log.failure().is_none());
}
