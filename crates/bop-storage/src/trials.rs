//! Whether to try once more what has mostly been in vain.
//!
//! Invariant: what is worth it from some attempt on is found within [`IN_VAIN_MAX`] of them.
//!
//! Never: stops trying for good.

/// After so many attempts in a row that were in vain, one in as many is tried.
const IN_VAIN_MAX: u32 = 8;

/// Counts attempts.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    /// Attempts in a row that were not worth it, or were not made.
    in_vain: u32,
}

impl Trials {
    /// Whether those before say that the next attempt may be worth it.
    pub(crate) fn is_worth_trying(&self) -> bool {
        self.in_vain < IN_VAIN_MAX || self.in_vain.is_multiple_of(IN_VAIN_MAX)
    }

    /// What comes next is another thing: one attempt is made of it.
    pub(crate) fn try_again(&mut self) {
        self.in_vain = self.in_vain.min(IN_VAIN_MAX);
    }

    /// An attempt was worth it; or it was not, or was not made.
    pub(crate) fn count(&mut self, was_worth_it: bool) {
        self.in_vain = if was_worth_it {
            0
        } else {
            self.in_vain.wrapping_add(1)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_eight_in_vain_one_in_eight_is_tried_until_one_is_worth_it() {
        let mut trials = Trials::default();
        let tried: Vec<usize> = (0..40)
            .filter(|nth| {
                let is_tried = trials.is_worth_trying();
                trials.count(is_tried && *nth == 32);
                is_tried
            })
            .collect();
        let expected: Vec<usize> = (0..9).chain([16, 24]).chain(32..40).collect();
        assert_eq!(tried, expected);
    }

    #[test]
    fn of_another_thing_one_attempt_is_made() {
        let mut trials = Trials::default();
        let mut tried = |count: usize| {
            let attempts = (0..count).filter(|_| {
                let is_tried = trials.is_worth_trying();
                trials.count(false);
                is_tried
            });
            let tried = attempts.count();
            trials.try_again();
            tried
        };
        // What was in vain a few times only is no reason to stop.
        assert_eq!([tried(4), tried(5), tried(8), tried(9)], [4, 5, 1, 2]);
    }
}
