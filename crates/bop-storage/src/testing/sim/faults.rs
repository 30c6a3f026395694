//! What fails when: a plan over the numbers of calls.
//!
//! ```text
//!   running --power cut--> cut (for ever: every call fails with EIO)
//!   running --sticky-----> every later call of its class fails likewise, until `heal`
//! ```
//! Invariant: state-changing calls and reads are numbered apart, each from 0, so that adding a read
//! to the engine does not move a planned failure of a write.

use crate::io::IoOp;
use crate::io::errno::EIO;
use std::collections::BTreeMap;

/// What happens to a call.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It fails with this errno; the next one works again.
    Error(i32),
    /// It and all later calls of its class (state-changing, or reads) fail with this errno.
    Sticky(i32),
    /// A write takes its first blocks, an allocation its first bytes, before it fails with this
    /// errno, as a loop does that was told of a short count; any other call just fails.
    Short(i32),
    /// As [`Fault::Short`], and all later calls of its class too.
    StickyShort(i32),
    /// From it on no file gets longer: what would need room fails with `ENOSPC`, all else is done,
    /// until [`SimDisk::heal`](super::SimDisk::heal).
    Full,
    /// It panics, and may have left behind what a failing call does; the next one works again.
    Panic,
    /// It and all later calls of its class panic.
    StickyPanic,
    /// It does not return before [`SimDisk::release_hung`](super::SimDisk::release_hung), and is
    /// done then.
    Hang,
    /// The power goes: it and all later calls fail with `EIO`.
    PowerCut,
    /// A write is acknowledged and not done; any other call is done.
    LostWrite,
    /// A write is done this many blocks further on in its file; any other call is done.
    MisdirectedWrite(u64),
}

/// How a write is lied about.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Lie {
    Lost,
    Misdirected(u64),
}

/// Whether a call changes the disk.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Class {
    Change,
    Read,
}

/// What a call is to do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Go,
    Fail(i32),
    Short(i32),
    Panic,
    Hang,
    /// This is the call during which the power goes.
    Cut,
    Lie(Lie),
}

#[derive(Clone, Default, Debug)]
struct Plan {
    calls: u64,
    at: BTreeMap<u64, Fault>,
    sticky: Option<Verdict>,
}

/// The plan, and how far it has come.
#[derive(Clone, Default, Debug)]
pub(super) struct Faults {
    changes: Plan,
    reads: Plan,
    next_of: Vec<(IoOp, Fault)>,
    cut: bool,
    /// Nothing gets longer.
    pub(super) full: bool,
    /// The call during which the power went.
    pub(super) cut_during: Option<IoOp>,
    /// Calls that hang now.
    pub(super) hung: usize,
    /// How often hung calls were released.
    pub(super) releases: u64,
}

impl Faults {
    pub(super) fn count(&self, class: Class) -> u64 {
        self.plan(class).calls
    }

    pub(super) fn fail_at(&mut self, class: Class, call: u64, fault: Fault) {
        self.plan_mut(class).at.insert(call, fault);
    }

    pub(super) fn fail_next(&mut self, op: IoOp, fault: Fault) {
        self.next_of.push((op, fault));
    }

    pub(super) fn heal(&mut self) {
        self.next_of.clear();
        self.full = false;
        for plan in [&mut self.changes, &mut self.reads] {
            plan.at.clear();
            plan.sticky = None;
        }
    }

    pub(super) fn cut(&mut self) {
        self.cut = true;
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Counts a call and says what becomes of it.
    pub(super) fn next(&mut self, class: Class, op: IoOp) -> Verdict {
        if self.cut {
            return Verdict::Fail(EIO);
        }
        let plan = self.plan_mut(class);
        let call = plan.calls;
        plan.calls += 1;
        let planned = plan.at.remove(&call);
        let sticky = plan.sticky;
        let fault = planned.or_else(|| self.take_next_of(op));
        let mut for_ever = |verdict| {
            self.plan_mut(class).sticky = Some(verdict);
            verdict
        };
        match fault {
            None => sticky.unwrap_or(Verdict::Go),
            Some(Fault::Error(errno)) => Verdict::Fail(errno),
            Some(Fault::Sticky(errno)) => for_ever(Verdict::Fail(errno)),
            Some(Fault::Full) => {
                self.full = true;
                Verdict::Go
            }
            Some(Fault::Short(errno)) => Verdict::Short(errno),
            Some(Fault::StickyShort(errno)) => for_ever(Verdict::Short(errno)),
            Some(Fault::Panic) => Verdict::Panic,
            Some(Fault::StickyPanic) => for_ever(Verdict::Panic),
            Some(Fault::Hang) => Verdict::Hang,
            Some(Fault::PowerCut) => {
                self.cut = true;
                self.cut_during = Some(op);
                Verdict::Cut
            }
            Some(Fault::LostWrite) => Verdict::Lie(Lie::Lost),
            Some(Fault::MisdirectedWrite(blocks)) => Verdict::Lie(Lie::Misdirected(blocks)),
        }
    }

    fn take_next_of(&mut self, op: IoOp) -> Option<Fault> {
        let found = self.next_of.iter().position(|(of, _)| *of == op)?;
        Some(self.next_of.remove(found).1)
    }

    fn plan(&self, class: Class) -> &Plan {
        match class {
            Class::Change => &self.changes,
            Class::Read => &self.reads,
        }
    }

    fn plan_mut(&mut self, class: Class) -> &mut Plan {
        match class {
            Class::Change => &mut self.changes,
            Class::Read => &mut self.reads,
        }
    }
}
