//! The pages of a range that a section has, a bit each.
//!
//! A section's index says it too, and by a search: whoever looks into several sections for each page that he
//! reads, most of which have not the page, asks these.
//!
//! Never: says where a page is.

/// Pages of a range, by their numbers from 0 on.
#[derive(Debug)]
pub struct PageSet(Box<[u64]>);

impl PageSet {
    /// Those of so many pages that are in `pages`; what lies behind them is left out.
    pub(super) fn new(count: u32, pages: impl Iterator<Item = u32>) -> Self {
        let mut words = vec![0; count.div_ceil(u64::BITS) as usize];
        for nth in pages.filter(|nth| *nth < count) {
            words[(nth / u64::BITS) as usize] |= 1 << (nth % u64::BITS);
        }
        Self(words.into_boxed_slice())
    }

    /// Whether the `nth` page is one of them.
    pub fn has(&self, nth: u64) -> bool {
        let word = usize::try_from(nth / u64::from(u64::BITS)).map(|at| self.0.get(at));
        let bit = 1 << (nth % u64::from(u64::BITS));
        matches!(word, Ok(Some(word)) if word & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_nothing_behind_its_end() {
        for count in [1, 63, 64, 65, 200] {
            let odd = PageSet::new(count, (0..1000).filter(|nth| nth % 2 == 1));
            for nth in 0..1000 {
                let expected = nth % 2 == 1 && nth < u64::from(count);
                assert_eq!(odd.has(nth), expected, "{nth} of {count}");
            }
            assert!(!odd.has(u64::MAX));
        }
    }
}
