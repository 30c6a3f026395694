//! The target loses its power, or has no room, at each call of a backup: what was acknowledged is there, what was
//! finished before stays, and whatever looks good restores.

use crate::ground::{Ground, Told, fill, open, options, sums, write};
use bop_storage::io::Disk;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{BackupOptions, BackupReport, ErrorCode, Manager};
use std::num::NonZeroUsize;
use std::sync::Arc;

fn on(disk: &SimDisk) -> BackupOptions {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    BackupOptions::new().keep(NonZeroUsize::MIN).disk(disk)
}

/// The store after a first backup, which is on the disk, and some more.
fn after_one(ground: &Ground) -> (Manager, SimDisk, BackupReport) {
    let store = open(&ground.store());
    fill(&store);
    let disk = SimDisk::new(5);
    let first = store
        .backup(ground.backups(), &on(&disk), &mut |_| ())
        .unwrap();
    for number in 0..30 {
        write(&store, "two", 1 + number % 7, number.into());
    }
    store.checkpoint().unwrap();
    (store, disk, first)
}

/// The numbers of what looks good, each of which is.
fn good(ground: &Ground, disk: &SimDisk) -> Vec<u64> {
    let infos = Manager::backups(ground.backups(), &on(disk)).unwrap();
    let numbers = infos.iter().map(|info| info.number);
    let verified = numbers.inspect(|number| {
        let (scratch, which) = (ground.dir.path(), on(disk).number(*number));
        let found = Manager::verify_backup(
            ground.backups(),
            Some(scratch),
            &options(),
            &which,
            &mut |_| (),
        );
        found.unwrap_or_else(|error| panic!("backup {number}: {error}"));
    });
    verified.collect()
}

#[test]
fn the_power_goes_at_each_call_of_a_backup() {
    let ground = Ground::new();
    let (store, disk, first) = after_one(&ground);
    assert_eq!(good(&ground, &disk.snapshot()), [first.number]);
    let whole = disk.snapshot();
    let begin = whole.op_count();
    store
        .backup(ground.backups(), &on(&whole), &mut |_| ())
        .unwrap();
    let calls = whole.op_count() - begin;
    assert!(calls > 30, "{calls} calls");
    let (mut kept, mut both) = (0, 0);
    for call in 0..calls {
        let _told = Told(format!("the power goes at call {call} of {calls}"));
        let disk = disk.snapshot();
        disk.fail_in(call, Fault::PowerCut);
        let made = store.backup(ground.backups(), &on(&disk), &mut |_| ());
        let image = disk.crash_image(call);
        let found = good(&ground, &image);
        match (&made, &found[..]) {
            // What is removed behind the new one may be there or not.
            (Ok(made), [.., newest]) => assert_eq!(made.number, *newest),
            (Ok(_), []) => panic!("what was acknowledged is gone"),
            (Err(_), [1]) => kept += 1,
            (Err(_), [1, 2] | [2]) => both += 1,
            (Err(error), other) => panic!("{error}: {other:?}"),
        }
        // It is gone on with.
        let image = image.snapshot();
        let again = store
            .backup(ground.backups(), &on(&image), &mut |_| ())
            .unwrap();
        if call % 8 == 0 {
            assert_eq!(good(&ground, &image), [again.number]);
        }
    }
    println!(
        "{calls} calls: {kept} times the old one alone, {both} times the new one, unacknowledged"
    );
    println!("proved: {calls} error loops");
    assert!(kept > 20, "{kept}");
}

#[test]
fn the_room_ends_at_each_step_of_a_backup() {
    let ground = Ground::new();
    let (store, disk, first) = after_one(&ground);
    let whole = disk.snapshot();
    let begin = whole.op_count();
    store
        .backup(ground.backups(), &on(&whole), &mut |_| ())
        .unwrap();
    let mut refused = 0;
    for call in (0..whole.op_count() - begin).step_by(2) {
        let _told = Told(format!("no room from call {call} on"));
        let disk = disk.snapshot();
        disk.fail_in(call, Fault::Full);
        match store.backup(ground.backups(), &on(&disk), &mut |_| ()) {
            Ok(made) => assert_eq!(good(&ground, &disk), [made.number]),
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::OutOfSpace, "{error}");
                refused += 1;
                disk.heal();
                if refused % 6 == 1 {
                    assert_eq!(good(&ground, &disk), [first.number]);
                }
                let made = store
                    .backup(ground.backups(), &on(&disk), &mut |_| ())
                    .unwrap();
                assert_eq!(made.number, 2);
            }
        }
    }
    assert!(refused > 10, "{refused}");
    // The store itself is as it was.
    let before = sums(&store);
    write(&store, "one", 1, 1);
    assert_ne!(sums(&store), before);
}
