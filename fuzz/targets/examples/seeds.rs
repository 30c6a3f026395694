//! Writes the seeds of the corpus: `cargo run --manifest-path fuzz/Cargo.toml -p bop-fuzz-targets --example seeds`.

#![expect(
    clippy::unwrap_used,
    reason = "a tool of the developers: a panic tells them what is wrong"
)]

use std::path::Path;

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for (target, name, bytes) in bop_fuzz_targets::seeds::all() {
        let dir = corpus.join(target);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("seed-{name}")), bytes).unwrap();
    }
}
