//! One load of what many want at once: the first has a guard, the others wait for what it puts there.
//!
//! Never: loads.

use crate::runtime::sync::{patience_outside, yield_now};
use quick_cache::sync::{Cache, GuardResult, PlaceholderGuard};
use quick_cache::{Lifecycle, Weighter};
use std::hash::{BuildHasher, Hash};

/// The value of `key`, or a guard to put one there; waits while somebody else has that.
pub(crate) fn value_or_guard<'a, K, V, W, B, L>(
    cache: &'a Cache<K, V, W, B, L>,
    key: &K,
) -> Result<V, PlaceholderGuard<'a, K, V, W, B, L>>
where
    K: Eq + Hash + Clone,
    V: Clone,
    W: Weighter<K, V> + Clone,
    B: BuildHasher + Clone,
    L: Lifecycle<K, V> + Clone,
{
    loop {
        match cache.get_value_or_guard(key, patience_outside()) {
            GuardResult::Value(value) => return Ok(value),
            GuardResult::Guard(guard) => return Err(guard),
            // Only a thread of a model does not wait in the library.
            GuardResult::Timeout => yield_now(),
        }
    }
}
