//! What is asked for, in which order.

/// One access.
pub(crate) struct Access {
    pub(crate) key: u64,
    /// Whether it counts for the ratio; the others are company, or came before.
    pub(crate) counts: bool,
}

/// A sequence of accesses.
pub(crate) struct Mix {
    pub(crate) name: &'static str,
    pub(crate) accesses: Vec<Access>,
}

/// Keys of scans lie above those of everything else.
const SCAN: u64 = 1 << 32;
/// The exponent of the Zipf distribution.
const SKEW: f64 = 0.9;

/// The same numbers in every run.
pub(crate) struct Uniform(u64);

impl Uniform {
    pub(crate) fn new(stream: u64) -> Self {
        Self(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn number(&mut self) -> u64 {
        // xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }
}

/// Keys of which the nth is asked for as often as its rank says.
struct Zipf {
    sums: Vec<f64>,
    random: Uniform,
}

impl Zipf {
    fn new(keys: usize, stream: u64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=keys).map(|rank| (rank as f64).powf(-SKEW));
        let sums = weights.map(|weight| {
            sum += weight;
            sum
        });
        Self {
            sums: sums.collect(),
            random: Uniform::new(stream),
        }
    }

    fn next(&mut self) -> u64 {
        let total = self.sums.last().copied().unwrap_or_default();
        let at = self.random.number() as f64 / u64::MAX as f64 * total;
        self.sums.partition_point(|sum| *sum < at) as u64
    }
}

fn counted(key: u64) -> Access {
    Access { key, counts: true }
}

fn company(key: u64) -> Access {
    Access { key, counts: false }
}

/// All mixes, for caches of so many entries.
pub(crate) fn mixes(capacity: usize) -> Vec<Mix> {
    let (entries, keys) = (capacity as u64, 10 * capacity);
    let mut zipf = Zipf::new(keys, 7);
    let mut warm =
        |count: usize| -> Vec<Access> { (0..count).map(|_| company(zipf.next())).collect() };
    let round = |span: u64, rounds: u64| (0..span * rounds).map(move |step| SCAN + step % span);
    let mut all = Vec::new();

    let mut accesses = warm(keys);
    let mut zipf_counted = Zipf::new(keys, 8);
    accesses.extend((0..keys).map(|_| counted(zipf_counted.next())));
    all.push(Mix {
        name: "Zipf 0.9",
        accesses,
    });

    let mut accesses = warm(keys);
    accesses.extend(
        (0..keys as u64).flat_map(|step| [company(SCAN + step), counted(zipf_counted.next())]),
    );
    all.push(Mix {
        name: "Zipf beside a scan",
        accesses,
    });

    let mut accesses = warm(keys);
    accesses.extend(round(keys as u64, 1).map(company));
    accesses.extend((0..capacity).map(|_| counted(zipf_counted.next())));
    all.push(Mix {
        name: "Zipf after a scan",
        accesses,
    });

    let accesses = round(keys as u64, 3).map(counted).collect();
    all.push(Mix {
        name: "scans of 10 times the cache",
        accesses,
    });

    let accesses = round(entries + entries / 4, 20).map(counted).collect();
    all.push(Mix {
        name: "loop of 1.25 times the cache",
        accesses,
    });

    // A set that was read much and is not any more; then rounds through one that fits.
    let mut accesses = warm(keys);
    let turns = entries * 4 / 5;
    accesses.extend(round(turns, 3).map(company));
    accesses.extend(round(turns, 7).map(counted));
    all.push(Mix {
        name: "loop of 0.8 after Zipf",
        accesses,
    });
    all
}
