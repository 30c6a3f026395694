//! The one random number generator of tests: SplitMix64.
//!
//! Invariant: the numbers depend on the seed alone, on every platform and in every version, so
//! that a printed seed stays good.
//!
//! Never: used outside tests; it is predictable from any of its outputs.

/// Steele, Lea and Flood's SplitMix64: 64 bits of state, every seed is a good one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator that starts at `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, or 0 when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The upper half of a 128-bit product: its bias is below limit / 2^64.
        let wide = u128::from(self.next_u64()) * u128::from(limit);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// An index below `count`, or 0 when `count` is 0.
    pub fn index(&mut self, count: usize) -> usize {
        let below = self.below(u64::try_from(count).unwrap_or(u64::MAX));
        usize::try_from(below).unwrap_or(0)
    }

    /// True in `hits` of `of` cases.
    pub fn chance(&mut self, hits: u64, of: u64) -> bool {
        self.below(of) < hits
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }

    /// Puts `items` into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// A generator of its own, for a part whose number of draws must not move this one's.
    pub const fn split(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut random = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn numbers_stay_below_their_limit_and_reach_all_of_it() {
        let mut random = SplitMix64::new(7);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[random.index(5)] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(0), 0);
        let mut places = [[false; 4]; 4];
        for _ in 0..200 {
            let mut order = [0, 1, 2, 3];
            random.shuffle(&mut order);
            for (place, item) in order.into_iter().enumerate() {
                places[place][item] = true;
            }
        }
        assert_eq!(places, [[true; 4]; 4]);
        assert!(!random.chance(0, 4) && random.chance(4, 4));
    }
}
