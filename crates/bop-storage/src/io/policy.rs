//! What to do about a failed I/O call: one table, `(operation, errno) -> action`.
//!
//! Invariants
//! - the first row that matches decides, and the last rows match everything, so every failure has
//!   an action;
//! - a failed sync or durable write is never answered with "no space, try later": some of its bytes
//!   may be on the device, so nobody may be told that nothing happened.
//!
//! Never: does anything; whoever handles a failure asks here and acts.

use super::errno::{
    EACCES, EAGAIN, EDQUOT, EFBIG, EINTR, EMFILE, ENFILE, ENOENT, ENOMEM, ENOSPC, EPERM, EROFS,
};
use super::{IoFailure, IoOp};
use crate::error::ErrorCode;

/// What to do about a failed call.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Make the same call again, now; only the backends ever see this.
    RetryNow,
    /// The device has no room: turn new work away, go on reading, heal when room returns.
    RejectNewWork,
    /// Fail the request that needed the call, and nothing else.
    FailRequest,
    /// The process or the machine is out of something: let callers wait, try again later.
    BackPressure,
    /// The state of the bytes is unknown: whatever they were for takes no more work.
    Poison,
    /// The store cannot be written at all: stop cleanly, and stay readable if possible.
    StopEngine,
}

/// Which operations a row is about.
#[derive(Copy, Clone, Debug)]
enum Ops {
    Any,
    Of(&'static [IoOp]),
}

/// Which errnos a row is about.
#[derive(Copy, Clone, Debug)]
enum Errnos {
    Any,
    Of(&'static [i32]),
}

/// After a failure of one of these, nobody knows which bytes are durable.
const UNCERTAIN: &[IoOp] = &[
    IoOp::WriteDurable,
    IoOp::Sync,
    IoOp::SyncDirectory,
    IoOp::ManifestCommit,
];

const NO_ROOM: &[i32] = &[ENOSPC, EDQUOT, EFBIG];

/// The table; the first row that matches decides.
const POLICY: &[(Ops, Errnos, Action)] = &[
    (Ops::Any, Errnos::Of(&[EINTR, EAGAIN]), Action::RetryNow),
    (
        Ops::Any,
        Errnos::Of(&[EROFS, EACCES, EPERM]),
        Action::StopEngine,
    ),
    // LMDB writes nothing before it has room, and its meta page last: a full disk is a clean no.
    (
        Ops::Of(&[IoOp::ManifestCommit]),
        Errnos::Of(NO_ROOM),
        Action::RejectNewWork,
    ),
    // Before the next row: delayed allocation reports a full disk by a sync, with the bytes lost.
    (Ops::Of(UNCERTAIN), Errnos::Any, Action::Poison),
    (Ops::Any, Errnos::Of(NO_ROOM), Action::RejectNewWork),
    (
        Ops::Any,
        Errnos::Of(&[EMFILE, ENFILE, ENOMEM]),
        Action::BackPressure,
    ),
    (Ops::Of(&[IoOp::Write]), Errnos::Any, Action::Poison),
    (Ops::Any, Errnos::Any, Action::FailRequest),
];

/// What to do when `op` failed with `errno`.
pub fn action(op: IoOp, errno: i32) -> Action {
    row_of(op, errno).map_or(Action::FailRequest, |row| POLICY[row].2)
}

/// The row that decides.
fn row_of(op: IoOp, errno: i32) -> Option<usize> {
    POLICY.iter().position(|(ops, errnos, _)| {
        let this_op = match ops {
            Ops::Any => true,
            Ops::Of(list) => list.contains(&op),
        };
        let this_errno = match errnos {
            Errnos::Any => true,
            Errnos::Of(list) => list.contains(&errno),
        };
        this_op && this_errno
    })
}

impl IoFailure {
    /// What to do about it.
    pub fn action(&self) -> Action {
        action(self.op, self.errno)
    }

    /// Whether there was no room, and nothing else happened.
    pub fn is_out_of_space(&self) -> bool {
        self.action() == Action::RejectNewWork
    }

    /// The stable name of this failure for whoever lost nothing but the call: a sync that found
    /// no room poisons what it was for, and is still told as what it is.
    pub fn code(&self) -> ErrorCode {
        if self.is_out_of_space() || [ENOSPC, EDQUOT].contains(&self.errno) {
            ErrorCode::OutOfSpace
        } else {
            ErrorCode::Io
        }
    }

    /// Whether the state of some bytes is unknown now.
    pub fn is_poisoning(&self) -> bool {
        self.action() == Action::Poison
    }

    /// Whether the store cannot be written at all.
    pub fn stops_engine(&self) -> bool {
        self.action() == Action::StopEngine
    }

    /// Whether the name is taken.
    pub fn is_already_there(&self) -> bool {
        self.errno == super::errno::EEXIST
    }

    /// Whether the name was not there.
    pub fn is_not_found(&self) -> bool {
        self.errno == ENOENT
    }
}

#[cfg(test)]
mod tests {
    use super::super::errno::{EEXIST, EIO, ELOOP};
    use super::*;

    const OPS: &[IoOp] = &[
        IoOp::Open,
        IoOp::Read,
        IoOp::Write,
        IoOp::WriteDurable,
        IoOp::Sync,
        IoOp::Allocate,
        IoOp::Directory,
        IoOp::SyncDirectory,
        IoOp::Rename,
        IoOp::Link,
        IoOp::Remove,
        IoOp::Lock,
        IoOp::ManifestCommit,
    ];

    /// One letter an action, one column an errno, one row an operation.
    #[test]
    fn the_whole_table_is_this_one() {
        let errnos = [
            EINTR, EAGAIN, ENOSPC, EDQUOT, EFBIG, EMFILE, ENFILE, ENOMEM, EROFS, EACCES, EPERM,
            ENOENT, ELOOP, EIO, 9999,
        ];
        let found: Vec<String> = OPS
            .iter()
            .map(|op| {
                let letters: String = errnos.iter().map(|e| letter(action(*op, *e))).collect();
                format!("{letters} {op}")
            })
            .collect();
        assert_eq!(
            found,
            [
                "++rrrbbbsssffff open",
                "++rrrbbbsssffff read",
                "++rrrbbbsssPPPP write",
                "++PPPPPPsssPPPP durable write",
                "++PPPPPPsssPPPP sync",
                "++rrrbbbsssffff allocate",
                "++rrrbbbsssffff directory access",
                "++PPPPPPsssPPPP directory sync",
                "++rrrbbbsssffff rename",
                "++rrrbbbsssffff link",
                "++rrrbbbsssffff remove",
                "++rrrbbbsssffff lock",
                "++rrrPPPsssPPPP manifest commit",
            ]
        );
    }

    #[test]
    fn every_row_decides_something() {
        for (index, (ops, errnos, _)) in POLICY.iter().enumerate() {
            let ops = match ops {
                Ops::Any => OPS,
                Ops::Of(list) => list,
            };
            let errnos = match errnos {
                Errnos::Any => &[EIO],
                Errnos::Of(list) => *list,
            };
            let mut inputs = ops.iter().flat_map(|op| errnos.iter().map(|e| (*op, *e)));
            let reached = inputs.any(|(op, errno)| row_of(op, errno) == Some(index));
            assert!(reached, "row {index}");
        }
    }

    fn letter(action: Action) -> char {
        match action {
            Action::RetryNow => '+',
            Action::RejectNewWork => 'r',
            Action::FailRequest => 'f',
            Action::BackPressure => 'b',
            Action::Poison => 'P',
            Action::StopEngine => 's',
        }
    }

    /// Each failure, and what it says of itself: `s`pace, `p`oisoning, the `e`ngine stops, a name is
    /// `t`aken or `n`ot there.
    #[test]
    fn a_failure_answers_by_the_table() {
        let failures = [
            (IoOp::Allocate, ENOSPC, "s...."),
            (IoOp::WriteDurable, ENOSPC, ".p..."),
            (IoOp::Sync, EIO, ".p..."),
            (IoOp::Open, EROFS, "..e.."),
            (IoOp::Link, EEXIST, "...t."),
            (IoOp::Open, ENOENT, "....n"),
            (IoOp::Read, EIO, "....."),
            (IoOp::Open, EMFILE, "....."),
        ];
        for (op, errno, expected) in failures {
            let failure = IoFailure {
                op,
                path: "log/x".into(),
                offset: None,
                errno,
            };
            let said: String = [
                (failure.is_out_of_space(), 's'),
                (failure.is_poisoning(), 'p'),
                (failure.stops_engine(), 'e'),
                (failure.is_already_there(), 't'),
                (failure.is_not_found(), 'n'),
            ]
            .map(|(holds, letter)| if holds { letter } else { '.' })
            .into_iter()
            .collect();
            assert_eq!(said, expected, "{failure}");
        }
    }

    #[test]
    fn no_room_has_a_code_of_its_own_whatever_the_call() {
        for op in OPS {
            let code = |errno| {
                let failure = IoFailure {
                    op: *op,
                    path: "x".into(),
                    offset: None,
                    errno,
                };
                failure.code()
            };
            assert_eq!(code(ENOSPC), ErrorCode::OutOfSpace, "{op}");
            assert_eq!(code(EDQUOT), ErrorCode::OutOfSpace, "{op}");
            assert_eq!(code(EIO), ErrorCode::Io, "{op}");
        }
    }
}
