//! What is restored is what was backed up.

use crate::ground::{Ground, LONG, fill, open, sums, write};
use bop_storage::{BackupStage, LastBackup, Limits, Manager, Options};
use std::time::Instant;

/// What is known, once the directory has answered.
fn known(store: &Manager) -> Option<LastBackup> {
    let until = Instant::now() + LONG;
    loop {
        let known = store.known_backups();
        match known.doubt {
            None => return known.last,
            Some(doubt) => assert!(Instant::now() < until, "{doubt}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_backup_restores_every_database_fork_and_snapshot() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    let before = sums(&store);
    assert!(before.len() >= 9, "{before:?}");
    let made = ground.backup(&store).unwrap();
    // What comes later is not in it.
    write(&store, "two", 9, 5000);
    store
        .create_database("later", bop_storage::DbKind::Raw)
        .unwrap();
    store.checkpoint().unwrap();
    let verified = ground.verify().unwrap();
    assert_eq!((verified.number, verified.lsn), (1, made.lsn));
    assert_eq!(verified.databases, made.databases);
    assert!(verified.pages > 0 && verified.entries > 0 && verified.snapshots >= 2);
    assert_eq!(ground.restored_sums("new"), before);
    let info = &Manager::backups(ground.backups(), &Default::default()).unwrap()[0];
    assert_eq!(info.verified_us, Some(verified.verified_us));
    let last = known(&store).unwrap();
    assert_eq!(last.verified, last.newest);
    assert_eq!(last.dir, ground.backups());
    store.close(LONG).unwrap();
    // The store that it was made of may be lost.
    std::fs::remove_dir_all(ground.store()).unwrap();
    assert_eq!(ground.restored_sums("again"), before);
}

#[test]
fn a_store_without_a_commit_is_backed_up_too() {
    let ground = Ground::new();
    let store = open(&ground.store());
    assert_eq!(known(&store), None);
    let made = ground.backup(&store).unwrap();
    assert_eq!((made.databases, made.chunks), (0, 0));
    ground.verify().unwrap();
    assert_eq!(ground.restored_sums("new"), sums(&store));
}

/// A store goes on where its backup ended, at positions that the other one never reaches; and that one cannot
/// be backed up behind it by mistake.
#[test]
fn a_restored_store_has_positions_of_its_own_and_is_backed_up_like_any_other() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    let made = ground.backup(&store).unwrap();
    ground.restore("new").unwrap();
    let new = open(&ground.path("new"));
    for round in 0..60 {
        write(&new, "one", 1 + round % 9, 9000 + u64::from(round));
        write(&store, "one", 1 + round % 9, 7000 + u64::from(round));
    }
    new.checkpoint().unwrap();
    let (head, other) = (
        new.info("one").unwrap().head,
        store.info("one").unwrap().head,
    );
    assert!(head.bytes_since(made.lsn).unwrap() >= 1 << 50, "{head}");
    assert!(other.bytes_since(made.lsn).unwrap() < 1 << 30, "{other}");
    let before = sums(&new);
    let again = ground.backup(&new).unwrap();
    assert_eq!(again.number, 2);
    assert_eq!(ground.restored_sums("newer"), before);
    new.close(LONG).unwrap();
    let new = open(&ground.path("new"));
    assert_eq!(sums(&new), before);
    let refused = ground.backup(&store).unwrap_err();
    assert!(refused.to_string().contains("a later state"), "{refused}");
    // It goes elsewhere.
    let elsewhere = ground.path("elsewhere");
    store
        .backup(elsewhere, &Default::default(), &mut |_| ())
        .unwrap();
}

#[test]
fn progress_ends_where_it_said_and_the_log_is_released_afterwards() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    let mut told = Vec::new();
    let made = store
        .backup(ground.backups(), &Default::default(), &mut |progress| {
            let leased = store.log_needs().needs;
            let leased = leased
                .iter()
                .any(|need| need.by == bop_storage::LogNeed::Backup);
            told.push((progress, leased));
        })
        .unwrap();
    let (last, leased) = told.last().unwrap();
    assert_eq!(last.done_bytes, last.total_bytes);
    assert!(last.stage == BackupStage::Chunks && !leased && made.chunks > 0);
    assert!(
        told.iter()
            .any(|(progress, leased)| progress.stage == BackupStage::Log && *leased)
    );
    for number in 0..40 {
        write(&store, "one", 1, number);
    }
    store.checkpoint().unwrap();
    let needs = store.log_needs();
    assert!(
        needs.truncated > made.lsn || needs.checkpointed > made.lsn,
        "{needs:?}"
    );
    assert!(
        needs
            .needs
            .iter()
            .all(|need| need.by != bop_storage::LogNeed::Backup)
    );
}

/// With other limits than the store was made with, but for those that its files depend on.
#[test]
fn a_backup_is_restored_by_a_program_with_other_limits() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    let before = sums(&store);
    ground.backup(&store).unwrap();
    let options = Options::new().limits(Limits::default());
    let (new, backup) = (ground.path("new"), Default::default());
    Manager::restore_backup(ground.backups(), &new, &options, &backup, &mut |_| ()).unwrap();
    let new = Manager::open(&new, options).unwrap();
    assert_eq!(sums(&new), before);
}
