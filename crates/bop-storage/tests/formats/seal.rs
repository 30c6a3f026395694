//! The index of a sealed segment, as the first version of the format has it: it must be read for
//! ever, and as long as the format is version 1 these very bytes are written.
//!
//! `BOP_GOLDEN_BUMP=1` writes the file when it is not there; a file that is there is never changed.
#![expect(clippy::unwrap_used, reason = "a test: a panic is its failure")]

use bop_storage::io::{BLOCK_BYTES, Block};
use bop_storage::log::format::{
    Activated, ChainHash, DATA_START, FORMAT_VERSION, Sealed, SealedHeader, Stamped,
    VerifiedHeader, add_batch, decode_directory, decode_header, verify_records,
};
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(format!("tests/golden/v{FORMAT_VERSION}"))
        .join(name)
}

fn block(bytes: &[u8]) -> Block {
    let mut block = Block::ZERO;
    block.0.copy_from_slice(&bytes[..BLOCK_BYTES]);
    block
}

/// The golden segment: stamp, chain hash without batches, and the batches' bytes with their headers.
fn segment() -> (
    Stamped,
    Activated,
    ChainHash,
    Vec<(VerifiedHeader, Vec<u8>)>,
) {
    let bytes = std::fs::read(golden("log/segment.bin")).unwrap();
    let stamp = Stamped::decode(&block(&bytes)).unwrap();
    let (activated, start) =
        Activated::decode(&block(&bytes[BLOCK_BYTES..]), &stamp.identity).unwrap();
    let mut rest = &bytes[usize::try_from(DATA_START).unwrap()..];
    let (mut at, mut batches) = (activated.base_lsn, Vec::new());
    while let Ok(header) = decode_header(rest, &stamp.identity, at, rest.len() as u64) {
        let (batch, behind) = rest.split_at(header.length_bytes as usize);
        (at, rest) = (header.end, behind);
        batches.push((header, batch.to_vec()));
    }
    assert!(!batches.is_empty());
    (stamp, activated, start, batches)
}

#[test]
fn an_index_has_the_bytes_it_always_had_and_says_what_the_batches_say() {
    let (stamp, activated, start, batches) = segment();
    let (mut body, mut chain) = (Vec::new(), start);
    for (header, batch) in &batches {
        add_batch(&mut body, batch).unwrap();
        chain = chain.extended(header.checksum);
    }
    let sealed = Sealed {
        base: activated.base_lsn,
        end: batches.last().unwrap().0.end,
        chain,
    };
    let count = u32::try_from(batches.len()).unwrap();
    let written = SealedHeader::new(sealed, &stamp.identity, count, &body);
    let bytes = [written.encode(&stamp.identity).as_bytes(), &body].concat();
    let path = golden("seal_index.bin");
    if !path.exists() && std::env::var_os("BOP_GOLDEN_BUMP").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert!(kept == bytes, "the writer makes other bytes than it did");

    let capacity = 1 << 20;
    let header = SealedHeader::decode(&block(&kept), &stamp.identity, capacity).unwrap();
    assert_eq!(header, written);
    let mut read = Vec::new();
    let believed = header.read_body(
        &stamp.identity,
        start,
        &kept[BLOCK_BYTES..],
        |head, records| {
            read.push((head, records));
        },
    );
    believed.unwrap();
    assert_eq!(read.len(), batches.len());
    for ((head, records), (header, batch)) in read.iter().zip(&batches) {
        assert_eq!(head, header);
        let directory = decode_directory(header, batch).unwrap();
        assert_eq!(*records, verify_records(header, &directory, batch).unwrap());
    }
}
