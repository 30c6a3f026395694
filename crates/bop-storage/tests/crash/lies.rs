//! A write that the device acknowledges and does not do, or does in another place: what is shown is
//! right, or an error says what is wrong. Only the newest batch before an unclean stop, which
//! nothing vouches for, may be missing in silence.

use crate::ground::Ground;
use crate::replay::{Replay, is_replay, one_of, seeds};
use crate::rig::{Keep, ManifestFault, Rig};
use crate::session::Session;
use crate::world::{Database, World, observe_snapshot};
use bop_storage::testing::Fault;
use bop_storage::{CatalogueError, ErrorCode, Limits};
use std::time::Duration;

const STEPS: u32 = 14;

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.log_sealed_segments_max = 2;
    limits.cache_bytes_max = 0;
    limits.writer_wait = Duration::from_millis(5);
    limits
}

/// How what was left was found.
#[derive(Default, Debug)]
struct Found {
    right: u64,
    refused: u64,
    newest_missing: u64,
}

/// One database, looked at.
enum Look {
    Right,
    Old,
    Refused,
}

fn look_at(
    store: &bop_storage::Manager,
    name: &str,
    expected: &Database,
    old: Option<&Database>,
) -> Result<Look, String> {
    let db = match store.database(name) {
        Ok(db) => db,
        Err(CatalogueError::Corrupt { .. } | CatalogueError::Damaged(_)) => {
            return Ok(Look::Refused);
        }
        Err(CatalogueError::NotFound { .. }) if old.is_none() => return Ok(Look::Old),
        Err(error) => return Err(format!("{name:?}: {error}")),
    };
    let read = db.begin_read().map_err(|error| error.to_string())?;
    match observe_snapshot(expected.kind, &read) {
        Ok(found) if found == *expected => Ok(Look::Right),
        Ok(found) if Some(&found) == old => Ok(Look::Old),
        Ok(found) => Err(format!("{name:?} shows {found:?}, not {expected:?}")),
        // What cannot be read was named by an error.
        Err(_) => Ok(Look::Refused),
    }
}

/// Judges a store that was lied to. `before`: the state before the newest operation, when that one
/// may be missing.
fn judge(
    rig: &Rig,
    acknowledged: &World,
    before: Option<&World>,
    found: &mut Found,
) -> Result<(), String> {
    let store = match rig.open(&limits()) {
        Ok(store) => store,
        Err(error) if error.code() == ErrorCode::Corrupt => {
            found.refused += 1;
            return Ok(());
        }
        Err(error) => return Err(format!("open: {error}")),
    };
    let (mut old, mut refused) = (false, false);
    for (name, expected) in acknowledged {
        let before = before.map(|world| world.get(name));
        let look = match before {
            // Nothing may be missing: the expected state is the old one, too.
            None => look_at(&store, name, expected, Some(expected))?,
            Some(before) => look_at(&store, name, expected, before)?,
        };
        old |= matches!(look, Look::Old);
        refused |= matches!(look, Look::Refused);
    }
    let known = |name: &str| {
        acknowledged.contains_key(name) || before.is_some_and(|world| world.contains_key(name))
    };
    // With a record of the catalogue lost a dropped database may be back: the catalogue is damaged
    // then, and says so.
    refused |= store.databases().iter().any(|info| !known(&info.name));
    let healthy = store.verify().is_healthy();
    if refused && healthy {
        return Err("a database is refused, and verify finds nothing".to_owned());
    }
    match (refused, old) {
        (true, _) => found.refused += 1,
        (_, true) => found.newest_missing += 1,
        _ => found.right += 1,
    }
    Ok(())
}

fn lie_at_each(test: &'static str, ground: Ground, range: std::ops::Range<u64>, fault: Fault) {
    let mut found = Found::default();
    let mut runs = 0;
    for seed in seeds(range) {
        let _replay = Replay::new(test, ground, seed);
        for call in (0..).step_by(one_of(ground.less())) {
            let rig = Rig::on(ground, seed, ManifestFault::NotApplied);
            rig.disk.fail_at(call, fault);
            let mut session = Session::lied_to(rig, &limits(), seed);
            session.run(STEPS);
            let calls = session.rig.disk.op_count();
            runs += 1;
            let context = |violation| panic!("{fault:?} at call {call}: {violation}");
            let Session {
                acknowledged,
                before,
                ..
            } = &session;
            let killed = session.rig.crashed(Keep::Everything, seed);
            judge(&killed, acknowledged, Some(before), &mut found).unwrap_or_else(context);
            let acknowledged = acknowledged.clone();
            session.leave(true);
            let closed = session.rig.crashed(Keep::Nothing, seed);
            judge(&closed, &acknowledged, None, &mut found).unwrap_or_else(context);
            if calls <= call {
                break;
            }
        }
    }
    println!("{test}, {ground}: {runs} runs, {found:?}");
    assert!(0 < found.right, "{found:?}");
    // A sample may meet no write that is needed afterwards.
    if !is_replay() && ground == Ground::Simulated {
        assert!(found.right >= 50, "{found:?}");
        assert!(found.refused >= 10, "{found:?}");
    }
}

#[test]
fn a_lost_write_is_found_or_was_the_newest() {
    lie_at_each(
        "a_lost_write_is_found_or_was_the_newest",
        Ground::Simulated,
        70..72,
        Fault::LostWrite,
    );
}

#[test]
fn a_misdirected_write_is_found_or_was_the_newest() {
    for blocks in [1, 3] {
        lie_at_each(
            "a_misdirected_write_is_found_or_was_the_newest",
            Ground::Simulated,
            80..81,
            Fault::MisdirectedWrite(blocks),
        );
    }
}

#[test]
fn a_wrong_write_to_real_files_is_found_or_was_the_newest() {
    for ground in Ground::real() {
        for (seed, fault) in (90..).zip([Fault::LostWrite, Fault::MisdirectedWrite(1)]) {
            lie_at_each(
                "a_wrong_write_to_real_files_is_found_or_was_the_newest",
                ground,
                seed..seed + 1,
                fault,
            );
        }
    }
}
