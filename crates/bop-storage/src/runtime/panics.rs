//! A fence around work that must not unwind into its caller: a panic becomes a value that says what
//! panicked, where, on which thread and by which way it came there.
//!
//! Invariants
//! - the process's panic hook is wrapped once and always called: what the host prints stays as it is;
//! - outside a fence the wrapper remembers nothing.
//!
//! Never: turns a panic into a bare string.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

/// A panic that was caught.
#[derive(Clone, Debug)]
pub struct PanicReport {
    /// What the thread was doing, as in "a thread panicked while it ...".
    pub stage: &'static str,
    /// The panic's message.
    pub message: String,
    /// File, line and column.
    pub location: String,
    /// The thread's name.
    pub thread: String,
    /// The calls that led there; empty unless `RUST_BACKTRACE` asks for it.
    pub backtrace: Arc<str>,
}

impl fmt::Display for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stage,
            message,
            location,
            thread,
            ..
        } = self;
        write!(
            f,
            "thread {thread} panicked while it {stage}: {message} ({location})"
        )
    }
}

/// What the hook saw of a panic.
#[derive(Debug, Default)]
struct Seen {
    location: String,
    backtrace: String,
}

thread_local! {
    /// How many fences the thread is inside of, and its last panic there.
    static FENCE: RefCell<(u32, Option<Seen>)> = const { RefCell::new((0, None)) };
}

/// Runs `work`; a panic in it is reported as an error.
///
/// # Errors
/// The panic.
pub(crate) fn fence<T>(stage: &'static str, work: impl FnOnce() -> T) -> Result<T, PanicReport> {
    static HOOK: Once = Once::new();
    HOOK.call_once(install_hook);
    // A thread that ends may be here when its locals are gone: a host's own destructor closes a store.
    let _gone = FENCE.try_with(|fence| fence.borrow_mut().0 += 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    let seen = FENCE.try_with(|fence| {
        let (depth, seen) = &mut *fence.borrow_mut();
        *depth -= 1;
        seen.take()
    });
    let seen = seen.ok().flatten();
    done.map_err(|payload| {
        let Seen {
            location,
            backtrace,
        } = seen.unwrap_or_default();
        PanicReport {
            stage,
            message: message(payload.as_ref()),
            location,
            thread: std::thread::current()
                .name()
                .unwrap_or("without a name")
                .to_owned(),
            backtrace: backtrace.into(),
        }
    })
}

fn install_hook() {
    let host = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // Not with a borrow that could panic in turn.
        let _outside = FENCE.try_with(|fence| {
            if let Ok(mut fence) = fence.try_borrow_mut()
                && fence.0 > 0
            {
                fence.1 = Some(Seen {
                    location: info.location().map(ToString::to_string).unwrap_or_default(),
                    backtrace: backtrace(),
                });
            }
        });
        host(info);
    }));
}

fn backtrace() -> String {
    let taken = Backtrace::capture();
    match taken.status() {
        std::backtrace::BacktraceStatus::Captured => taken.to_string(),
        _ => String::new(),
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&'static str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a payload that is no text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_message_place_stage_and_thread() {
        let body = || fence("counted sheep", || -> u32 { panic!("lost count at {}", 7) });
        let named = std::thread::Builder::new().name("shepherd".into());
        let report = named.spawn(body).unwrap().join().unwrap().unwrap_err();
        assert_eq!(report.message, "lost count at 7");
        assert_eq!(
            (report.stage, &report.thread[..]),
            ("counted sheep", "shepherd")
        );
        assert!(report.location.contains("panics.rs:"), "{report}");
    }

    #[test]
    fn fences_stand_inside_each_other() {
        let outer = fence("outside", || fence("inside", || panic!("in")).unwrap_err());
        assert_eq!(outer.unwrap().stage, "inside");
        assert_eq!(fence("fine", || 3).unwrap(), 3);
    }

    /// Is inside of a fence when its thread ends.
    struct AtTheEnd(Option<std::sync::mpsc::Sender<bool>>);

    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            let panicked = fence("ended a thread", || panic!("at the end")).is_err();
            let fine = fence("ended a thread", || 3).is_ok();
            if let Some(tell) = self.0.take() {
                tell.send(panicked && fine).unwrap();
            }
        }
    }

    thread_local! {
        static AT_THE_END: RefCell<AtTheEnd> = const { RefCell::new(AtTheEnd(None)) };
    }

    /// A host's destructor for a thread closes a store: locals go in the opposite order of their first use.
    #[test]
    fn a_fence_stands_when_the_locals_of_its_thread_are_gone() {
        let (tell, told) = std::sync::mpsc::channel();
        let body = move || {
            AT_THE_END.with_borrow_mut(|end| end.0 = Some(tell));
            fence("lived", || ()).unwrap();
        };
        std::thread::spawn(body).join().unwrap();
        assert!(told.recv().unwrap());
    }
}
