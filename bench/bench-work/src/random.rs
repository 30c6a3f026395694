//! Fresh random bytes that cost next to nothing.

/// SplitMix64: no two fills are alike, in one run or in two.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each `stream` of this process.
    pub fn new(stream: u64) -> Self {
        let process = u64::from(std::process::id()) << 32;
        let mut random = Self(process ^ stream);
        // So that neighbouring streams are far from each other.
        let start = random.number() ^ random.number().rotate_left(32);
        Self(start)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, evenly enough.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.number().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_fills_and_no_two_streams_are_alike() {
        let (mut one, mut other) = (Random::new(1), Random::new(2));
        let mut fills = [[0; 100]; 3];
        one.fill(&mut fills[0]);
        one.fill(&mut fills[1]);
        other.fill(&mut fills[2]);
        assert!(fills[0] != fills[1] && fills[0] != fills[2] && fills[1] != fills[2]);
        assert!(fills.iter().all(|fill| fill[92..] != [0; 8]));
    }
}
