//! The panic fence: unwinding stops here and becomes a result code.

use crate::engine_error::{EngineError, ErrorSlot};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a callback's body. A panic is logged and kept in `errors`; `on_panic` is answered.
///
/// The body may hold broken state only in what the caller resets after a panic.
pub fn fence<T>(
    callback: &'static str,
    errors: Option<&ErrorSlot>,
    on_panic: impl FnOnce() -> T,
    body: impl FnOnce() -> T,
) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(answer) => answer,
        Err(payload) => {
            let message = message_of(payload);
            tracing::error!(callback, message, "a callback of SQLite panicked");
            if let Some(errors) = errors {
                errors.record(EngineError::Panic { callback, message });
            }
            on_panic()
        }
    }
}

/// What a panic that was caught said.
pub fn message_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    discard(payload);
    text.unwrap_or_else(|| "a payload without text".to_owned())
}

/// Drops what a panic carried. Its destructor may panic, and that of what that carries, too, which is left alone.
fn discard(payload: Box<dyn Any + Send>) {
    let dropped = |payload| catch_unwind(AssertUnwindSafe(|| drop::<Box<dyn Any + Send>>(payload)));
    if let Err(left) = dropped(payload).or_else(dropped) {
        std::mem::forget(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bop_storage::error::ErrorCode;

    #[test]
    fn a_panic_becomes_an_answer_and_an_error_with_its_message() {
        let errors = ErrorSlot::default();
        let answer = fence("xTest", Some(&errors), || 10, || panic!("number {}", 7));
        assert_eq!(answer, 10);
        let error = errors.latest().unwrap();
        assert_eq!(error.code(), ErrorCode::Panic);
        assert_eq!(error.to_string(), "callback xTest panicked: number 7");
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_does_no_harm() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let answer = fence("xTest", None, || 10, || std::panic::panic_any(Bomb));
        assert_eq!(answer, 10);
    }

    #[test]
    fn without_a_panic_the_body_answers() {
        let errors = ErrorSlot::default();
        assert_eq!(fence("xTest", Some(&errors), || 10, || 3), 3);
        assert!(errors.latest().is_none());
    }
}
