//! The turn goes from committer to committer, and nobody is left behind.

use super::super::lead::CROWD_RECORDS_MIN;
use super::super::member::{Priority, Silent, Waits};
use super::super::rig::note;
use super::super::shared::{Patience, Taken};
use super::super::ticket::{Answer, Ticket};
use super::explore;
use super::rig::{Rig, Threads, limits};
use crate::runtime::sync::now;
use std::sync::Arc;
use std::time::Duration;

fn committers_commit_twice() {
    let rig = Rig::new(limits(), Threads::None);
    let committer = |number: u64| {
        rig.thread(move |rig| {
            for tag in [2 * number, 2 * number + 1] {
                rig.append(tag).unwrap();
            }
        })
    };
    let committers: Vec<_> = (1..=3).map(committer).collect();
    for committer in committers {
        committer.join().unwrap();
    }
    assert_eq!(rig.visible().len(), 6);
    rig.finish();
}

#[test]
fn each_committer_leads_is_led_for_or_is_handed_the_turn() {
    explore(committers_commit_twice);
}

/// One commits as [`Log::append`](super::super::Log::append) does when its deadline passes at once.
fn one_gives_up() {
    let rig = Rig::new(limits(), Threads::None);
    let patient: Vec<_> = (1..=2)
        .map(|tag| rig.thread(move |rig| rig.commit(tag)))
        .collect();
    let impatient = rig.thread(|rig| {
        let shared = rig.log.shared();
        let ticket = Ticket::new(Box::new(Silent));
        let (order, started) = ((Priority::User, Waits::Thread), now());
        let taken = shared.enqueue(&Arc::new(note()), order, &ticket, false, Patience::Wait);
        let Taken { at, leads } = taken.unwrap();
        if leads {
            shared.lead(Some(&ticket));
        }
        if shared.give_up(&ticket, at, started).is_none() {
            // It was told to lead in this moment, and nobody else does.
            assert!(matches!(ticket.wait(started), Answer::Lead));
            shared.lead(Some(&ticket));
        }
    });
    for committer in patient {
        committer.join().unwrap();
    }
    impatient.join().unwrap();
    rig.finish();
}

#[test]
fn who_gives_up_takes_neither_the_turn_nor_a_record_of_others_along() {
    explore(one_gives_up);
}

/// More wait than a leader stays for, and a first one that goes on at once.
fn one_leads_after_the_other() {
    let rig = Rig::new(limits(), Threads::None);
    let committers: Vec<_> = (1..=5)
        .map(|tag| rig.thread(move |rig| rig.commit(tag)))
        .collect();
    rig.append(6).unwrap();
    rig.append(7).unwrap();
    for committer in committers {
        committer.join().unwrap();
    }
    rig.finish();
}

#[test]
fn a_crowd_is_served_to_the_last() {
    explore(one_leads_after_the_other);
}

/// A committer meets the background thread at a record that nobody waits for.
fn committer_and_background() {
    let rig = Rig::new(limits(), Threads::Both);
    let future = rig.append_async(1).unwrap();
    let committer = rig.thread(|rig| rig.commit(2));
    let other = rig.append_async(3).unwrap();
    for (tag, future) in [(1, future), (3, other)] {
        rig.check(tag, &future.wait(Duration::from_secs(60)));
    }
    committer.join().unwrap();
    assert_eq!(rig.visible().len(), 3);
    rig.finish();
}

#[test]
fn committer_and_background_thread_hand_over_to_each_other() {
    explore(committer_and_background);
}

/// More wait behind a committer's record than it leads for: the background thread is called, while others go on.
fn crowd_and_background() {
    let rig = Rig::new(limits(), Threads::Both);
    let committers: Vec<_> = (1..=2)
        .map(|tag| rig.thread(move |rig| rig.commit(tag)))
        .collect();
    let mut crowd = Vec::new();
    for nth in 0..=CROWD_RECORDS_MIN as u64 {
        let tag = 10 + nth;
        crowd.push((tag, rig.append_async(tag).unwrap()));
    }
    for committer in committers {
        committer.join().unwrap();
    }
    for (tag, future) in crowd {
        rig.check(tag, &future.wait(Duration::from_secs(60)));
    }
    rig.finish();
}

#[test]
fn a_crowd_is_handed_to_the_background_thread() {
    explore(crowd_and_background);
}
