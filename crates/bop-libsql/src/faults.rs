//! Places where a test makes a callback fail or panic. Outside of this crate's own tests they are
//! empty.

use crate::EngineError;

/// A place in a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Point {
    BeginRead,
    BeginWrite,
    Read,
    Write,
    Commit,
    Group,
}

#[cfg(not(test))]
#[inline]
#[expect(clippy::unnecessary_wraps, reason = "the twin for tests does fail")]
pub(crate) fn hit(_point: Point) -> Result<(), EngineError> {
    Ok(())
}

#[cfg(test)]
pub(crate) use armed::{Fault, arm, disarm, hit};

#[cfg(test)]
mod armed {
    use super::{EngineError, Point};
    use std::cell::RefCell;

    /// What happens when a point is reached for the n-th time.
    pub(crate) enum Fault {
        Error(EngineError),
        Panic,
    }

    struct Plan {
        point: Point,
        hits_left: u32,
        fault: Fault,
    }

    thread_local! {
        static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
    }

    /// This thread's `nth` call that reaches `point` from now on fails, and none after it.
    pub(crate) fn arm(point: Point, nth: u32, fault: Fault) {
        PLAN.set(Some(Plan {
            point,
            hits_left: nth,
            fault,
        }));
    }

    /// `true` when the fault that was armed has not struck.
    pub(crate) fn disarm() -> bool {
        PLAN.take().is_some()
    }

    pub(crate) fn hit(point: Point) -> Result<(), EngineError> {
        let fault = PLAN.with_borrow_mut(|slot| {
            let plan = slot.as_mut().filter(|plan| plan.point == point)?;
            plan.hits_left = plan.hits_left.saturating_sub(1);
            if plan.hits_left > 0 {
                return None;
            }
            slot.take().map(|plan| plan.fault)
        });
        match fault {
            None => Ok(()),
            Some(Fault::Error(error)) => Err(error),
            Some(Fault::Panic) => panic!("injected at {point:?}"),
        }
    }
}
