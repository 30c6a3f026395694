//! Random bytes that are the same in every run.

use super::SplitMix64;
use crate::runtime::Entropy;
use crate::runtime::sync::Mutex;

/// Bytes drawn from a seed.
#[derive(Debug)]
pub struct SeededEntropy {
    random: Mutex<SplitMix64>,
}

impl SeededEntropy {
    /// Bytes that depend on `seed` and on how many were drawn before.
    pub const fn new(seed: u64) -> Self {
        Self {
            random: Mutex::new(SplitMix64::new(seed)),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        self.random.lock().fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let draw = |seed| {
            let mut bytes = [0; 12];
            SeededEntropy::new(seed).fill(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
