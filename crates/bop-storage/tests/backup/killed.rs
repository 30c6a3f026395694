//! SIGKILL at a hundred random moments of a process that commits and backs up: each backup that is there restores,
//! none that was finished is lost, and the next one goes on with what the killed one left.

use crate::ground::{Ground, LONG, Told, fill, open, sums, verify, write};
use bop_storage::testing::SplitMix64;
use bop_storage::{BackupError, BackupOptions, Manager};
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CHILD_DIR: &str = "BOP_BACKUP_CHILD";
const CHILD_MOMENT: &str = "BOP_BACKUP_MOMENT_US";
const RUNS: u64 = 100;
const SEED: u64 = 17;
const SIGKILL: i32 = 9;
/// So many backups stay: no child finishes more before it is killed, so each that was finished can be verified.
const KEEP: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// What the child does, for ever: commits by two threads, and one backup after the other.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD_DIR) else {
        return;
    };
    let dir = PathBuf::from(dir);
    let moment: u64 = std::env::var(CHILD_MOMENT).unwrap().parse().unwrap();
    let store = open(&dir.join("store"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for databases in [["one", "fork"], ["two", "one"]] {
            let (store, stop) = (&store, &stop);
            threads.spawn(move || {
                let mut number = moment;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let database = databases[number as usize % 2];
                    write(store, database, 1 + (number % 11) as u32, number);
                }
            });
        }
        threads.spawn(|| {
            // The moment is one of time, and of no event.
            std::thread::sleep(Duration::from_micros(moment));
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        });
        let mut round = 0;
        loop {
            let options = BackupOptions::new().keep(KEEP).copy(round % 2 == 1);
            let made = store.backup(dir.join("backups"), &options, &mut |_| ());
            let mut out = std::io::stdout().lock();
            match made {
                Ok(made) => writeln!(out, "@{}", made.number).unwrap(),
                // The other thread was faster than its bound.
                Err(BackupError::LogReleased) => {}
                Err(error) => writeln!(out, "!{error}").unwrap(),
            }
            out.flush().unwrap();
            drop(out);
            store.checkpoint().unwrap();
            round += 1;
        }
    });
}

/// Runs the child until it is killed; the last backup that it said was finished.
fn run(dir: &Path, moment_us: u64) -> Option<u64> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_MOMENT, moment_us.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(SIGKILL), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!said.contains('!'), "{said}");
    let numbers = said.lines().filter_map(|line| line.strip_prefix('@'));
    numbers.filter_map(|number| number.parse().ok()).next_back()
}

#[test]
fn whatever_backup_is_there_restores_wherever_its_process_is_killed() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    let begun = Instant::now();
    let first = ground.backup(&store).unwrap();
    // Where the device is slow some are to be finished, too.
    let longest_us = (8 * begun.elapsed().as_micros() as u64).max(120_000);
    store.close(LONG).unwrap();
    let mut random = SplitMix64::new(SEED);
    let (mut newest, mut in_the_middle, mut verified) = (first.number, 0, 0);
    for nth in 0..RUNS {
        let moment = random.next_u64() % longest_us;
        let _told = Told(format!("seed {SEED}: run {nth}, killed after {moment} us"));
        let said = run(ground.dir.path(), moment);
        let there = Manager::backups(ground.backups(), &BackupOptions::new()).unwrap();
        let found = there.last().unwrap().number;
        assert!(
            newest <= found && said <= Some(found),
            "{newest}, {said:?}, {there:?}"
        );
        // Each that was finished; now and then those before, too, which share their files with it.
        for number in newest + 1..=found {
            let one = BackupOptions::new().number(number);
            verify(&ground.backups(), &one).unwrap();
            verified += 1;
        }
        if nth % 25 == 0 {
            for info in &there {
                let one = BackupOptions::new().number(info.number);
                verify(&ground.backups(), &one).unwrap();
            }
        }
        in_the_middle += u64::from(found == newest);
        newest = found;
    }
    println!("{verified} backups were finished and verified, {in_the_middle} runs finished none");
    assert_eq!(verified, newest - first.number);
    assert!(
        newest > 10 && in_the_middle > 10,
        "{newest}, {in_the_middle}"
    );
    let store = open(&ground.store());
    ground.backup(&store).unwrap();
    ground.verify().unwrap();
    assert_eq!(ground.restored_sums("new"), sums(&store));
}
