//! What a commit promises when it returns.

use std::time::Duration;

/// How durable a commit is when it returns. Whatever is chosen, a crash leaves a prefix of the
/// store's one order: a commit is never there without those before it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// It survives a power cut. SQLite's `synchronous=FULL` and `EXTRA`.
    #[default]
    Full,
    /// It is visible to everybody, and survives a power cut once `max_delay` has passed, a later
    /// commit with `Full` has returned, or [`Manager::sync`](crate::Manager::sync) has. SQLite's
    /// `synchronous=NORMAL` and `OFF`.
    Relaxed {
        /// The longest time that it stays in memory only, while the device keeps up.
        max_delay: Duration,
    },
}

impl Durability {
    /// Durable within so short a time that hardly anything is lost, and so long that one write of
    /// the device serves very many commits.
    pub const RELAXED: Self = Self::Relaxed {
        max_delay: Duration::from_millis(10),
    };
}
