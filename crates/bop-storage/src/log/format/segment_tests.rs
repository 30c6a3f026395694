//! Stamps, activations and indexes that are sealed and cannot be: each is refused for its own reason, and what is
//! at the edge is believed.

use super::bytes::sealed;
use super::codec_tests::{IDENTITY, member, one_batch, page};
use super::contradictions_tests::{AT, told};
use super::encode::*;
use super::record::NoteKind;
use super::seal::{SealHeader, Sealed, SealedHeader, add_batch, seal_bytes_max};
use super::segment::*;
use crate::checksum::Crc64;
use crate::ids::*;
use crate::io::Block;
use zerocopy::{FromBytes, IntoBytes};

const STAMPED: Stamped = Stamped {
    identity: IDENTITY,
    capacity_bytes: 64 << 10,
};

fn stamp(edit: impl FnOnce(&mut Stamp)) -> Block {
    let mut block = STAMPED.encode();
    let (stamp, _) = Stamp::mut_from_prefix(&mut block.0).unwrap();
    edit(stamp);
    stamp.checksum = sealed(Crc64::new(), stamp.as_bytes()).into();
    block
}

#[test]
fn a_stamp_is_of_this_format_and_of_a_segment_with_room() {
    let why = |edit: fn(&mut Stamp)| told(Stamped::decode(&stamp(edit)));
    assert_eq!(why(|_| ()), "");
    assert_eq!(why(|stamp| stamp.magic[0] = 0), "Magic");
    assert_eq!(
        why(|stamp| stamp.format_version = 0.into()),
        "format version 0"
    );
    assert_eq!(
        why(|stamp| stamp.format_version = 2.into()),
        "Version { found: 2, supported: 1 }"
    );
    assert_eq!(
        why(|stamp| stamp.reserved = 1.into()),
        "reserved bytes of a stamp"
    );
    let capacity = "capacity of a segment";
    assert_eq!(
        why(|stamp| stamp.capacity_bytes = DATA_START.into()),
        capacity
    );
    assert_eq!(
        why(|stamp| stamp.capacity_bytes = (DATA_START + 4096).into()),
        ""
    );
    assert_eq!(
        why(|stamp| stamp.capacity_bytes = (DATA_START + 4097).into()),
        capacity
    );
    let mut behind = STAMPED.encode();
    behind.0[4095] = 1;
    assert_eq!(told(Stamped::decode(&behind)), "bytes behind a stamp");
    let mut torn = STAMPED.encode();
    torn.0[20] ^= 1;
    assert_eq!(told(Stamped::decode(&torn)), "Checksum");
}

#[test]
fn a_stamp_that_is_sound_says_whose_file_it_is() {
    for (edit, why) in [
        (
            (|stamp: &mut Stamp| stamp.store_id[0] ^= 1) as fn(&mut Stamp),
            "ForeignStore",
        ),
        (|stamp| stamp.segment_id += 1, "the file is another segment"),
        (
            |stamp| stamp.incarnation += 1,
            "the file is of another life of the segment",
        ),
        (
            |stamp| stamp.capacity_bytes += 4096,
            "the segment was registered with another capacity",
        ),
    ] {
        let mut block = stamp(edit);
        assert_eq!(told(Stamped::decode_as(&block, &STAMPED)), why);
        assert!(Stamped::is_of_another(&block, &STAMPED), "{why}");
        // Whatever stands behind it.
        block.0[4095] = 1;
        assert!(Stamped::is_of_another(&block, &STAMPED), "{why}");
        block.0[20] ^= 1;
        assert!(
            !Stamped::is_of_another(&block, &STAMPED),
            "a bad one says nothing"
        );
    }
    let own = STAMPED.encode();
    assert_eq!(told(Stamped::decode_as(&own, &STAMPED)), "");
    assert!(!Stamped::is_of_another(&own, &STAMPED));
}

#[test]
fn an_activation_goes_on_behind_an_older_segment() {
    let why = |edit: fn(&mut Activation)| {
        let activated = Activated {
            epoch: Epoch::new(2),
            base_lsn: AT,
            last_time_us: 9,
            predecessor: Some(Predecessor {
                segment: SegmentId::new(2),
                end: AT,
                hash: ChainHash::new(7),
            }),
        };
        let (mut block, _) = activated.encode(&IDENTITY);
        let (activation, _) = Activation::mut_from_prefix(&mut block.0).unwrap();
        edit(activation);
        activation.checksum = sealed(IDENTITY.checksum(), activation.as_bytes()).into();
        told(Activated::decode(&block, &IDENTITY))
    };
    assert_eq!(why(|_| ()), "");
    assert_eq!(why(|activation| activation.magic[0] = 0), "Magic");
    assert_eq!(
        why(|activation| activation.base_lsn = Lsn::LIMIT.get().into()),
        "base lsn beyond the number space"
    );
    let last = |activation: &mut Activation| {
        activation.base_lsn = (Lsn::LIMIT.get() - 4096).into();
    };
    assert_eq!(why(last), "");
    assert_eq!(
        why(|activation| activation.base_lsn += 8),
        "base lsn inside a block"
    );
    assert_eq!(
        why(|activation| activation.predecessor_end += 1),
        "a predecessor that ends behind the base lsn"
    );
    let later = "a predecessor that comes later";
    assert_eq!(
        why(|activation| activation.predecessor_id = 3.into()),
        later
    );
    assert_eq!(
        why(|activation| activation.predecessor_id = 4.into()),
        later
    );
    let none = "an end of no predecessor";
    assert_eq!(why(|activation| activation.predecessor_id = 0.into()), none);
    let end_alone = |activation: &mut Activation| {
        activation.predecessor_id = 0.into();
        activation.predecessor_hash = 0.into();
    };
    assert_eq!(why(end_alone), none);
    let hash_alone = |activation: &mut Activation| {
        activation.predecessor_id = 0.into();
        activation.predecessor_end = 0.into();
    };
    assert_eq!(why(hash_alone), none);
}

/// The chain hash of a segment without batches.
const START: ChainHash = ChainHash::new(5);

/// The index of two batches, each of a group and a note, and what it is of.
fn index_of_two() -> (Vec<u8>, Sealed, Vec<Lsn>) {
    let (mut body, mut chain, mut at, mut lsns) = (Vec::new(), START, AT, Vec::new());
    for _ in 0..2 {
        let content = [1u8; 512];
        let pages = [page(2, &content)];
        let group = encode_pages(FragmentPart::Whole, &[member(1, &pages), member(4, &pages)]);
        let note = encode_note(NoteKind::Idle).unwrap();
        let (blocks, batch) = one_batch(&[group.unwrap(), note], at);
        add_batch(&mut body, blocks.as_bytes()).unwrap();
        chain = chain.extended(batch.header_checksum);
        at = batch.end;
        lsns.extend(batch.record_lsns);
    }
    let sealed = Sealed {
        base: AT,
        end: at,
        chain,
    };
    (body, sealed, lsns)
}

#[test]
fn an_index_is_of_all_batches_of_its_segment_and_of_no_others() {
    let (body, of, lsns) = index_of_two();
    let read = |of: Sealed, batches: u32, bytes: &[u8]| {
        let header = SealedHeader::new(of, &IDENTITY, batches, &body);
        let mut found = Vec::new();
        let read = header.read_body(&IDENTITY, START, bytes, |_, records| {
            found.extend(records.iter().map(|record| record.lsn));
        });
        (told(read), found)
    };
    assert_eq!(read(of, 2, &body), (String::new(), lsns));
    let mut padded = [&body[..], &[0; 100]].concat();
    assert_eq!(read(of, 2, &padded).0, "", "zeros behind it");
    padded[body.len() + 99] = 1;
    assert_eq!(read(of, 2, &padded).0, "bytes behind an index");
    let mut flipped = body.clone();
    flipped[70] ^= 1;
    assert_eq!(read(of, 2, &flipped).0, "Checksum");
    let (one, more) = (
        "bytes behind the last batch of an index",
        "an index of other batches",
    );
    assert_eq!(read(of, 1, &body).0, one);
    let longer = Sealed {
        end: of.end.advance(4096).unwrap(),
        ..of
    };
    assert_eq!(read(longer, 2, &body).0, more);
    let other = Sealed { chain: START, ..of };
    assert_eq!(read(other, 2, &body).0, more);
    let mut body = vec![7];
    let nothing = add_batch(&mut body, &[0; 4096]);
    assert_eq!((told(nothing).as_str(), body.len()), ("not a batch", 1));
}

#[test]
fn an_index_is_no_larger_than_an_eighth_of_its_segment() {
    let (body, of, _) = index_of_two();
    let header = SealedHeader::new(of, &IDENTITY, 2, &body);
    let capacity = 8 * body.len() as u64;
    let read = |capacity| SealedHeader::decode(&header.encode(&IDENTITY), &IDENTITY, capacity);
    assert_eq!(read(capacity), Ok(header));
    assert_eq!(told(read(capacity - 8)), "an index that is too large");
    assert_eq!(seal_bytes_max(1 << 40), 8 << 20);
    let why = |edit: fn(&mut SealHeader)| {
        let mut block = header.encode(&IDENTITY);
        let (header, _) = SealHeader::mut_from_prefix(&mut block.0).unwrap();
        edit(header);
        header.checksum = sealed(IDENTITY.checksum(), header.as_bytes()).into();
        told(SealedHeader::decode(&block, &IDENTITY, capacity))
    };
    assert_eq!(why(|header| header.magic[0] = 0), "Magic");
    assert_eq!(
        why(|header| header.reserved = 1.into()),
        "reserved bytes of an index"
    );
    let mut behind = header.encode(&IDENTITY);
    behind.0[4095] = 1;
    assert_eq!(
        told(SealedHeader::decode(&behind, &IDENTITY, capacity)),
        "bytes behind the header of an index"
    );
}

#[test]
fn a_fold_tells_batches_and_their_order_apart() {
    let of = |batches: &[u64]| {
        let start = ChainHash::default();
        batches
            .iter()
            .fold(start, |fold, batch| fold.extended(*batch))
    };
    // CRC-64/NVMe of the fold before, and of the batch, eight bytes each.
    let expected = Crc64::new()
        .update(&[0; 8])
        .update(&[7, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(of(&[7]).get(), expected.finish());
    let folds = [
        of(&[]),
        of(&[7]),
        of(&[8]),
        of(&[7, 8]),
        of(&[8, 7]),
        of(&[7, 8, 7]),
    ];
    for (nth, fold) in folds.iter().enumerate() {
        assert!(!folds[nth + 1..].contains(fold), "{nth}");
    }
}
