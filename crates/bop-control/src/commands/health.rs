//! What is wrong with a store, or will be soon.
//!
//! Invariant: a reason says what is the case and what to do about it; whether the store counts as healthy follows
//! from the levels of its reasons alone, and what is failing is what the engine's metrics call so too.
//!
//! Never: reads a file of the store: it is asked often, and while the device may be the trouble.

use bop_storage::{DatabaseInfo, Failing, Health, Lag, Manager, StoreStatus};
use serde_json::{Value, json};

/// Parts of a hundred of a quota that are nearly all of it.
const QUOTA_PERCENT: u64 = 90;

/// The reasons with which no commit is taken, of whichever database. A call that hangs is none: its batch is
/// written elsewhere.
const STOPS_COMMITS: [&str; 2] = ["poisoned", "disk_reserve"];

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// Something does not work.
    Failing,
    /// Something will not work when it goes on like this.
    Warning,
}

/// One thing that is wrong.
pub(super) struct Reason {
    /// A stable name.
    pub(super) code: &'static str,
    pub(super) level: Level,
    /// What is the case.
    pub(super) what: String,
    /// What to do about it.
    pub(super) advice: &'static str,
}

impl Reason {
    fn failing(failing: Failing, what: String, advice: &'static str) -> Self {
        Self {
            code: failing.as_str(),
            level: Level::Failing,
            what,
            advice,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "reason": self.code,
            "level": match self.level {
                Level::Failing => "failing",
                Level::Warning => "warning",
            },
            "what": self.what,
            "advice": self.advice,
        })
    }
}

/// Whether a store with these reasons is healthy.
pub(super) fn is_healthy(reasons: &[Reason]) -> bool {
    reasons.iter().all(|reason| reason.level == Level::Warning)
}

/// Whether a store with these reasons takes commits.
pub(super) fn takes_commits(reasons: &[Reason]) -> bool {
    let stops = |reason: &Reason| STOPS_COMMITS.contains(&reason.code);
    !reasons.iter().any(stops)
}

/// What is wrong, the worst first.
pub(super) fn reasons(
    manager: &Manager,
    status: &StoreStatus,
    lag: &Lag,
    databases: &[DatabaseInfo],
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    reasons.extend(of_log(status));
    reasons.extend(of_calls(status));
    reasons.extend(of_breakers(status));
    reasons.extend(of_reserve(lag));
    reasons.extend(databases.iter().filter_map(of_damage));
    reasons.extend(databases.iter().filter_map(of_quota));
    reasons.extend(of_cursors(manager));
    reasons
}

fn of_log(status: &StoreStatus) -> Option<Reason> {
    match &status.health {
        Health::Poisoned(cause) => Some(Reason::failing(
            Failing::Poisoned,
            format!("no commits are taken: {cause}"),
            "see to the device, then open the store again: it recovers what is durable. Reads go on meanwhile",
        )),
        // Each damaged database has a reason of its own.
        _ => None,
    }
}

fn of_calls(status: &StoreStatus) -> Option<Reason> {
    let oldest = status.stalled_calls.first()?;
    let count = status.stalled_calls.len();
    Some(Reason::failing(
        Failing::Stalled,
        format!("{count} calls to the kernel have not returned; the oldest is the {oldest}"),
        "see to the device that the call names: it, or the way to it, does not answer. Nothing is lost",
    ))
}

fn of_breakers(status: &StoreStatus) -> Vec<Reason> {
    let open = |breaker: &&bop_storage::runtime::BreakerStatus| {
        breaker.state != bop_storage::runtime::BreakerState::Closed
    };
    let reason = |breaker: &bop_storage::runtime::BreakerStatus| {
        let (work, failures) = (breaker.work, breaker.failures);
        Reason::failing(
            Failing::BreakerOpen,
            format!(
                "work in the background is left alone for a while: {work} failed {failures} times in a row"
            ),
            "bop stats tells the errors by code; most often the device is full. It is tried again by itself",
        )
    };
    status.breakers.iter().filter(open).map(reason).collect()
}

fn of_reserve(lag: &Lag) -> Option<Reason> {
    let missing = lag.reserve_missing_bytes;
    (missing > 0).then(|| {
        Reason::failing(
            Failing::DiskReserve,
            format!("the device lacks {missing} bytes that a checkpoint may need: commits will be refused"),
            "free some space on the device, or run bop checkpoint, so that the log needs less",
        )
    })
}

fn of_damage(info: &DatabaseInfo) -> Option<Reason> {
    let damage = info.damage.as_ref()?;
    Some(Reason::failing(
        Failing::Damaged,
        format!("database {:?} is closed for damage: {damage}", info.name),
        "bop verify lists all damage; restore the database to a state before it, or take what there is with bop salvage",
    ))
}

fn of_quota(info: &DatabaseInfo) -> Option<Reason> {
    let quota = info.policy.quota_bytes;
    let page_bytes = info.page_size.map_or(0, |size| u64::from(size.get()));
    let bytes = page_bytes * u64::from(info.page_count);
    let is_near =
        quota > 0 && u128::from(bytes) * 100 >= u128::from(quota) * u128::from(QUOTA_PERCENT);
    is_near.then(|| Reason {
        code: "quota",
        level: Level::Warning,
        what: format!(
            "database {:?} has {bytes} of the {quota} bytes of its quota",
            info.name
        ),
        advice: "delete rows and VACUUM, or raise it with bop quota",
    })
}

fn of_cursors(manager: &Manager) -> Vec<Reason> {
    let lost = manager.cursors().into_iter().filter(|cursor| cursor.lost);
    let reason = |cursor: bop_storage::CursorInfo| Reason {
        code: "cursor_lost",
        level: Level::Warning,
        what: format!(
            "cursor {:?} has lost its place: what it would read next is gone",
            cursor.name
        ),
        advice: "let its reader take all anew, then bop cursor drop lets it begin where the feed does",
    };
    lost.map(reason).collect()
}
