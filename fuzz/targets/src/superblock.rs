//! A superblock: two slots of whatever bytes.

use crate::checksums;
use crate::files::{blocks, disk_with};
use crate::input::Input;
use bop_storage::error::OpenError;
use bop_storage::io::BLOCK_BYTES;
use bop_storage::io::layout::SUPERBLOCK;
use bop_storage::superblock::Superblock;
use std::path::Path;

/// A slot that is believed is the only one with its content, and the newest sound one counts.
pub fn superblock(data: &[u8]) {
    let mut bytes = Input::new(data).rest().to_vec();
    read(&bytes);
    checksums::superblock(&mut bytes);
    read(&bytes);
}

fn read(bytes: &[u8]) {
    // A slot that is cut off is none.
    let slots = blocks(&bytes[..bytes.len() / BLOCK_BYTES * BLOCK_BYTES]);
    let believed = slots.iter().filter_map(|slot| {
        let found = Superblock::decode(slot).ok()?;
        assert_eq!(found.encode().0, slot.0, "another writing of the same slot");
        Some(found)
    });
    let believed: Vec<Superblock> = believed.collect();
    match Superblock::read(&disk_with(Path::new(SUPERBLOCK), bytes)) {
        Ok(Some(found)) => {
            let newest = believed.iter().take(2).map(|slot| slot.sequence).max();
            assert_eq!(Some(found.superblock.sequence), newest);
            assert!(believed.contains(&found.superblock));
        }
        Ok(None) => panic!("the file is there and was not found"),
        Err(OpenError::Damaged(_)) => {}
        Err(other) => panic!("bytes are damage, not {other}"),
    }
}
