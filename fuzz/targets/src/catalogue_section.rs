//! The catalogue, as a section of a chunk has it.

use crate::checksums;
use crate::input::Input;
use bop_storage::catalogue::{decode_section, encode_section};
use bop_storage::ids::Lsn;

/// What is believed of a base is written and read again as it was.
pub fn catalogue_section(data: &[u8]) {
    let mut bytes = Input::new(data).rest().to_vec();
    read(&bytes);
    checksums::catalogue_section(&mut bytes);
    read(&bytes);
}

fn read(bytes: &[u8]) {
    let Ok(section) = decode_section(bytes) else {
        return;
    };
    // Whoever opens the store asks it for names.
    let entries = section.catalogue.entries().count();
    assert!(section.catalogue.live().count() <= entries);
    for (id, entry) in section.catalogue.live() {
        if section.since == Lsn::ZERO {
            let found = section.catalogue.find(entry.name.as_str());
            assert_eq!(
                found.ok(),
                Some(id),
                "{:?} is not found by its name",
                entry.name
            );
        }
    }
    if section.since == Lsn::ZERO {
        let again = encode_section(&section.catalogue, &section.cursors);
        let read = decode_section(&again);
        let read = read.unwrap_or_else(|reject| panic!("a section of ours: {reject}"));
        assert_eq!(read.cursors, section.cursors);
        let (found, was) = (read.catalogue.entries(), section.catalogue.entries());
        assert_eq!(found.collect::<Vec<_>>(), was.collect::<Vec<_>>());
        assert_eq!(encode_section(&read.catalogue, &read.cursors), again);
    }
}
