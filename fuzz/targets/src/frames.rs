//! What comes over the control socket, to either end of it.

use crate::input::Input;

/// A message that is believed says the same when it is written and read again.
pub fn frames(data: &[u8]) {
    bop_control::testing::frames(Input::new(data).rest());
}
