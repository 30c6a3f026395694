//! The first blocks of a segment, and whatever stands behind them, as recovery meets them.

use crate::checksums;
use crate::files::{blocks, disk_with};
use crate::input::Input;
use crate::log_builder::{Collected, FIRST_SEGMENT, log_state};
use bop_storage::io::layout;
use bop_storage::log::format::{Activated, Stamped};
use bop_storage::log::{Helpers, RegisteredSegment, recover};
use bop_storage::runtime::SystemSpawn;

/// What is believed has one writing, and recovery says the same twice.
pub fn segment_header(data: &[u8]) {
    let mut bytes = Input::new(data).rest().to_vec();
    read(&bytes);
    checksums::segment_header(&mut bytes, &FIRST_SEGMENT);
    read(&bytes);
}

fn read(bytes: &[u8]) {
    let mut capacity_bytes = 16 << 10;
    for (nth, block) in blocks(bytes).iter().take(3).enumerate() {
        if nth == 0 {
            if let Ok(stamped) = Stamped::decode(block) {
                assert_eq!(stamped.encode().0, block.0, "another writing of the stamp");
                capacity_bytes = stamped.capacity_bytes;
            }
        } else if let Ok((activated, chain)) = Activated::decode(block, &FIRST_SEGMENT) {
            let (again, chain_again) = activated.encode(&FIRST_SEGMENT);
            assert_eq!((again.0, chain_again), (block.0, chain), "another writing");
        }
    }
    let registered = RegisteredSegment {
        id: FIRST_SEGMENT.segment,
        incarnation: FIRST_SEGMENT.incarnation,
        capacity_bytes,
    };
    let disk = disk_with(&layout::segment(registered.id), bytes);
    let read = || {
        let mut found = Collected::default();
        let segments = [registered];
        let helpers = Helpers::at_most(&SystemSpawn, 0);
        let recovered = recover(&disk, &log_state(&segments), helpers, &mut found);
        (recovered.map_err(|error| error.to_string()), found)
    };
    assert_eq!(read(), read(), "recovery says two things of the same bytes");
}
