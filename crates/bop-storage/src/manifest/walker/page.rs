//! The parts of a page of LMDB's trees: header, nodes, keys.
//!
//! Invariant: nothing outside the page's bytes is read, whatever they say.
//!
//! Never: reads the file, knows which page is which.

use crate::error::Reject;
use zerocopy::native_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

pub(super) const HEADER_BYTES: usize = size_of::<PageHeader>();
pub(super) const NODE_BYTES: usize = size_of::<Node>();
pub(super) const PAGE_BRANCH: u16 = 0x01;
pub(super) const PAGE_LEAF: u16 = 0x02;
pub(super) const PAGE_OVERFLOW: u16 = 0x04;
pub(super) const PAGE_META: u16 = 0x08;
pub(super) const NODE_BIG: u16 = 0x01;

#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct PageHeader {
    pub number: U64,
    pad: U16,
    pub flags: U16,
    /// End of the node pointers. Of an overflow page, this and the next are one number: its pages.
    pub lower: U16,
    /// Start of the nodes.
    pub upper: U16,
}
const _: () = assert!(size_of::<PageHeader>() == 16);

#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Node {
    /// Two halves, low one first on a little-endian machine: bytes of the value, or the low bits
    /// of a child's page number.
    pub size: U32,
    /// Of a leaf's node: flags. Of a branch's: the high bits of the child's page number.
    pub flags: U16,
    pub key_bytes: U16,
}
const _: () = assert!(size_of::<Node>() == 8);

#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Free,
    Main,
}

pub(super) fn header(page: &[u8]) -> Result<&PageHeader, Reject> {
    let (header, _) =
        PageHeader::ref_from_prefix(page).map_err(|_| Reject::Invalid("header of a page"))?;
    Ok(header)
}

pub(super) fn node(page: &[u8], offset: usize) -> Result<&Node, Reject> {
    let outside = Reject::Invalid("a node lies outside its page");
    let bytes = page.get(offset..).ok_or(outside.clone())?;
    let (node, _) = Node::ref_from_prefix(bytes).map_err(|_| outside)?;
    Ok(node)
}

/// The keys of some nodes, as [`order`] writes them: each must be greater than the one before.
pub(super) fn ascending_keys(
    page: &[u8],
    nodes: &[usize],
    kind: Kind,
) -> Result<Vec<Vec<u8>>, Reject> {
    let keys = nodes.iter().map(|offset| {
        let first = offset + NODE_BYTES;
        let bytes = usize::from(node(page, *offset)?.key_bytes.get());
        let key = page.get(first..first + bytes);
        order(
            key.ok_or(Reject::Invalid("a node lies outside its page"))?,
            kind,
        )
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_sorted_by(|one, next| one < next) {
        Ok(keys)
    } else {
        Err(Reject::Invalid("keys are not in order"))
    }
}

/// A key as bytes whose order is LMDB's order of the keys.
fn order(key: &[u8], kind: Kind) -> Result<Vec<u8>, Reject> {
    match kind {
        Kind::Main => Ok(key.to_vec()),
        Kind::Free => U64::read_from_bytes(key)
            .map(|number| number.get().to_be_bytes().to_vec())
            .map_err(|_| Reject::Invalid("key of the free list")),
    }
}

/// Bytes that a node takes in its page, without padding.
pub(super) fn on_page_bytes(node: &Node, page: u16) -> usize {
    let value = match node.flags.get() {
        _ if page == PAGE_BRANCH => 0,
        NODE_BIG => 8,
        _ => node_size(node),
    };
    NODE_BYTES + usize::from(node.key_bytes.get()) + value
}

/// The low 32 bits of what a node's first two halves stand for. LMDB keeps the low half first on
/// a little-endian machine and the high half first on a big-endian one: a native `u32` in both.
pub(super) fn node_size(node: &Node) -> usize {
    node.size.get() as usize
}

pub(super) fn branch_child(page: &[u8], offset: usize) -> Result<u64, Reject> {
    let node = node(page, offset)?;
    if page.len() < offset + NODE_BYTES + usize::from(node.key_bytes.get()) {
        return Err(Reject::Invalid("a node lies outside its page"));
    }
    Ok(u64::from(node.size.get()) | u64::from(node.flags.get()) << 32)
}
