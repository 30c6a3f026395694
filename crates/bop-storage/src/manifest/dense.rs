//! A map that is made of rows in the order of their keys, with full nodes.
//!
//! A B+ tree of `imbl` splits a full leaf in the middle: filled in ascending order it has half empty leaves only,
//! and a store of very many databases twice the memory that its rows need. Here one half of each leaf's keys
//! comes first, and the other when the leaf was split off:
//!
//! ```text
//!   keys       0..8   8..16  16..24  24..32  32..40
//!   inserted   first         second          third: the first leaf was split off, 8..16 fill it
//! ```
//! Invariants
//! - the map is that of plain insertion of keys that are there once, whatever their order is and wherever
//!   the tree splits: both only decide how large it is;
//! - at most [`HELD_MAX`] rows are held back, for as long as it is made.
//!
//! Never: lasts longer than the loading of a table.

use imbl::OrdMap;
use std::collections::VecDeque;

/// Keys of a leaf that is split off: half of what fits into one.
const HALF: usize = 8;

/// The second halves of two leaves.
const HELD_MAX: usize = 2 * HALF;

/// A map in the making.
pub(super) struct Dense<K, V> {
    map: OrdMap<K, V>,
    held: VecDeque<(K, V)>,
    count: usize,
}

impl<K: Ord + Clone, V: Clone> Dense<K, V> {
    pub(super) fn new() -> Self {
        Self {
            map: OrdMap::new(),
            held: VecDeque::with_capacity(HELD_MAX),
            count: 0,
        }
    }

    /// Adds a row, best behind all others.
    pub(super) fn insert(&mut self, key: K, value: V) {
        let is_first_half = self.count % (2 * HALF) < HALF;
        self.count += 1;
        if !is_first_half {
            self.held.push_back((key, value));
            return;
        }
        self.map.insert(key, value);
        if self.count % (2 * HALF) == HALF && 2 * HALF <= self.held.len() {
            self.map.extend(self.held.drain(..HALF));
        }
    }

    /// The map of all of them.
    pub(super) fn finish(mut self) -> OrdMap<K, V> {
        self.map.extend(self.held);
        self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_in_order_are_all_there_however_many() {
        for count in 0..300_u64 {
            let mut dense = Dense::new();
            for key in 0..count {
                dense.insert(key, key + 1);
                assert!(dense.held.len() <= HELD_MAX);
            }
            let expected: OrdMap<u64, u64> = (0..count).map(|key| (key, key + 1)).collect();
            assert_eq!(dense.finish(), expected);
        }
    }

    proptest! {
        #[test]
        fn keys_in_any_order_make_the_map_of_plain_insertion(keys in prop::collection::btree_set(0_u64..500, 0..200), seed in 0_u64..9) {
            let mut dense = Dense::new();
            let mut keys: Vec<u64> = keys.into_iter().collect();
            keys.sort_by_key(|key| key.wrapping_mul(seed * 0x9e37_79b9 + 1) % 509);
            for &key in &keys {
                dense.insert(key, ());
            }
            prop_assert_eq!(dense.finish(), keys.into_iter().map(|key| (key, ())).collect());
        }
    }
}
