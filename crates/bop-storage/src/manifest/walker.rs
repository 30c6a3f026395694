//! Checks the pages of an LMDB file before LMDB maps it.
//!
//! LMDB has no checksums and believes what it reads: a page that is missing or nonsense is not an
//! error to it but a signal that ends the process. So every page that LMDB could reach from the
//! newest meta page is read here with plain reads first, and each must be in the file, be what its
//! parent says, and keep its nodes inside itself.
//!
//! ```text
//! meta page x 2 -> free tree   keys: transaction numbers   values: lists of free page numbers
//!               -> main tree   keys: ours                  values: ours, large ones on overflow pages
//! ```
//! Only what our environments use is accepted: no named, sorted-duplicate or sub-databases. The
//! lay-out is that of LMDB's data version 1 on 64-bit machines, in the machine's byte order.
//!
//! Never: maps the file, judges our own values (their checksums do), writes.

use crate::error::Reject;
use zerocopy::native_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

const _: () = assert!(
    usize::BITS == 64,
    "LMDB's pages are read as on a 64-bit machine"
);

const MAGIC: u32 = 0xbeef_c0de;
const DATA_VERSION: u32 = 1;
const HEADER_BYTES: usize = size_of::<PageHeader>();
const NODE_BYTES: usize = size_of::<Node>();
/// The root of an empty tree.
const NO_PAGE: u64 = u64::MAX;
/// LMDB's cursors go no deeper.
const DEPTH_MAX: u16 = 32;
const PAGE_BRANCH: u16 = 0x01;
const PAGE_LEAF: u16 = 0x02;
const PAGE_OVERFLOW: u16 = 0x04;
const PAGE_META: u16 = 0x08;
/// Bits that LMDB sets in memory and may write; they mean nothing in the file.
const PAGE_TRANSIENT: u16 = 0x10 | 0x4000 | 0x8000;
const NODE_BIG: u16 = 0x01;
/// The free tree's keys are machine words.
const TREE_INTEGER_KEY: u16 = 0x08;

#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct PageHeader {
    number: U64,
    pad: U16,
    flags: U16,
    /// End of the node pointers. Of an overflow page, this and the next are one number: its pages.
    lower: U16,
    /// Start of the nodes.
    upper: U16,
}
const _: () = assert!(size_of::<PageHeader>() == 16);

#[derive(Clone, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Tree {
    /// In the free tree: the page size.
    pad: U32,
    flags: U16,
    depth: U16,
    branch_pages: U64,
    leaf_pages: U64,
    overflow_pages: U64,
    entries: U64,
    root: U64,
}

#[derive(Clone, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Meta {
    magic: U32,
    version: U32,
    address: U64,
    map_bytes: U64,
    free: Tree,
    main: Tree,
    last_page: U64,
    transaction: U64,
}
const _: () = assert!(size_of::<Meta>() == 136);

#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Node {
    /// Two halves, low one first on a little-endian machine: bytes of the value, or the low bits
    /// of a child's page number.
    size: U32,
    /// Of a leaf's node: flags. Of a branch's: the high bits of the child's page number.
    flags: U16,
    key_bytes: U16,
}
const _: () = assert!(size_of::<Node>() == 8);

/// What a sound file says about itself.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Sound {
    /// Bytes that the newest transaction uses, free pages inside included.
    pub used_bytes: u64,
}

/// Reads `bytes` at an offset completely, or says why not.
pub(super) type ReadAt<'a> = &'a dyn Fn(u64, &mut [u8]) -> Result<(), Reject>;

/// Walks all pages of a file of `file_bytes` bytes.
///
/// # Errors
/// The first thing found that LMDB must not see.
pub(super) fn check(file_bytes: u64, map_max: u64, read: ReadAt<'_>) -> Result<Sound, Reject> {
    let meta = newest_meta(file_bytes, read)?;
    let page_bytes = u64::from(meta.free.pad.get());
    let pages = meta.last_page.get().checked_add(1);
    let used_bytes = pages.and_then(|pages| pages.checked_mul(page_bytes));
    let used_bytes = used_bytes
        .filter(|used| 2 * page_bytes <= *used && *used <= map_max)
        .ok_or(Reject::Invalid("the last page lies outside every limit"))?;
    // The file may end before the last page: LMDB does not write pages it freed at once.
    let mut walk = Walk {
        read,
        page_bytes: usize::try_from(page_bytes).unwrap_or(usize::MAX),
        pages: (file_bytes / page_bytes).min(used_bytes / page_bytes),
        pages_used: used_bytes / page_bytes,
        seen: Vec::new(),
        free: Vec::new(),
    };
    let seen = usize::try_from(walk.pages_used).unwrap_or(usize::MAX);
    walk.seen = vec![false; seen];
    walk.tree(&meta.free, Kind::Free)?;
    walk.tree(&meta.main, Kind::Main)?;
    walk.check_free_pages()?;
    Ok(Sound { used_bytes })
}

fn newest_meta(file_bytes: u64, read: ReadAt<'_>) -> Result<Meta, Reject> {
    let first = meta_at(0, 0, file_bytes, read)?;
    let page_bytes = u64::from(first.free.pad.get());
    if !(page_bytes.is_power_of_two() && (512..=32_768).contains(&page_bytes)) {
        return Err(Reject::Invalid("page size of the first meta page"));
    }
    let second = meta_at(1, page_bytes, file_bytes, read)?;
    if second.free.pad.get() != first.free.pad.get() {
        return Err(Reject::Invalid("the meta pages differ in page size"));
    }
    if file_bytes < 2 * page_bytes {
        return Err(Reject::Truncated {
            found: file_bytes,
            needed: 2 * page_bytes,
        });
    }
    // The same choice as LMDB's.
    Ok(if first.transaction.get() < second.transaction.get() {
        second
    } else {
        first
    })
}

fn meta_at(number: u64, offset: u64, file_bytes: u64, read: ReadAt<'_>) -> Result<Meta, Reject> {
    let mut bytes = [0; HEADER_BYTES + size_of::<Meta>()];
    let needed = offset + bytes.len() as u64;
    if file_bytes < needed {
        return Err(Reject::Truncated {
            found: file_bytes,
            needed,
        });
    }
    read(offset, &mut bytes)?;
    let (header, meta) = bytes.split_at(HEADER_BYTES);
    let header = PageHeader::ref_from_bytes(header).map_err(|_| Reject::Magic)?;
    let meta = Meta::read_from_bytes(meta).map_err(|_| Reject::Magic)?;
    if meta.magic.get() != MAGIC
        || header.flags.get() & !PAGE_TRANSIENT != PAGE_META
        || header.number.get() != number
    {
        return Err(Reject::Magic);
    }
    if meta.version.get() != DATA_VERSION {
        return Err(Reject::Version {
            found: meta.version.get(),
            supported: DATA_VERSION,
        });
    }
    if meta.free.flags.get() & TREE_INTEGER_KEY == 0 || meta.main.flags.get() != 0 {
        return Err(Reject::Invalid("tree flags of a meta page"));
    }
    Ok(meta)
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Kind {
    Free,
    Main,
}

struct Walk<'a> {
    read: ReadAt<'a>,
    page_bytes: usize,
    /// Whole pages in the file.
    pages: u64,
    /// Pages up to the last one that was ever used, in the file or not.
    pages_used: u64,
    /// Pages that a tree holds: none is in two places, so no walk is endless.
    seen: Vec<bool>,
    /// Pages that the free tree lists.
    free: Vec<u64>,
}

impl Walk<'_> {
    fn tree(&mut self, tree: &Tree, kind: Kind) -> Result<(), Reject> {
        if tree.root.get() == NO_PAGE {
            return match tree.entries.get() {
                0 => Ok(()),
                _ => Err(Reject::Invalid("a tree without pages has entries")),
            };
        }
        let depth = tree.depth.get();
        if depth == 0 || DEPTH_MAX < depth {
            return Err(Reject::Invalid("depth of a tree"));
        }
        let (mut entries, mut todo) = (0_u64, vec![(tree.root.get(), 1)]);
        while let Some((number, level)) = todo.pop() {
            let page = self.page(number)?;
            let wanted = if level == depth {
                PAGE_LEAF
            } else {
                PAGE_BRANCH
            };
            let nodes = self.nodes(&page, wanted)?;
            // LMDB stops the process at a branch of the main tree with one child.
            if kind == Kind::Main && wanted == PAGE_BRANCH && nodes.len() < 2 {
                return Err(Reject::Invalid("a branch page has one child"));
            }
            if level == depth {
                entries += nodes.len() as u64;
                for offset in nodes {
                    self.leaf_node(&page, offset, kind)?;
                }
            } else {
                for offset in nodes {
                    todo.push((branch_child(&page, offset)?, level + 1));
                }
            }
        }
        if entries == tree.entries.get() {
            Ok(())
        } else {
            Err(Reject::Invalid("entries of a tree"))
        }
    }

    /// Reads a page of a tree, once.
    fn page(&mut self, number: u64) -> Result<Vec<u8>, Reject> {
        self.claim(number, 1)?;
        let mut page = vec![0; self.page_bytes];
        (self.read)(number * self.page_bytes as u64, &mut page)?;
        if header(&page)?.number.get() == number {
            Ok(page)
        } else {
            Err(Reject::Invalid("a page has another page's number"))
        }
    }

    /// Marks pages as held by a tree.
    fn claim(&mut self, number: u64, count: u64) -> Result<(), Reject> {
        let end = number.checked_add(count).filter(|_| 2 <= number);
        let end = end.ok_or(Reject::Invalid("page number"))?;
        if self.pages < end {
            return Err(Reject::Truncated {
                found: self.pages * self.page_bytes as u64,
                needed: end.saturating_mul(self.page_bytes as u64),
            });
        }
        // `pages` is at most the length of `seen`, a `usize`.
        for seen in &mut self.seen[number as usize..end as usize] {
            if std::mem::replace(seen, true) {
                return Err(Reject::Invalid("a page is used twice"));
            }
        }
        Ok(())
    }

    /// The offsets of a page's nodes, each of which lies inside the page with its fixed part.
    fn nodes(&self, page: &[u8], wanted: u16) -> Result<Vec<usize>, Reject> {
        let header = header(page)?;
        let (lower, upper) = (
            usize::from(header.lower.get()),
            usize::from(header.upper.get()),
        );
        if header.flags.get() & !PAGE_TRANSIENT != wanted {
            return Err(Reject::Invalid("kind of a page"));
        }
        let bounds = HEADER_BYTES < lower && lower <= upper && upper <= self.page_bytes;
        if !bounds || lower % 2 != 0 {
            return Err(Reject::Invalid("bounds of a page"));
        }
        let nodes = page[HEADER_BYTES..lower].chunks_exact(2).map(|pointer| {
            let offset = usize::from(u16::from_ne_bytes([pointer[0], pointer[1]]));
            if upper <= offset && offset + NODE_BYTES <= self.page_bytes && offset % 2 == 0 {
                Ok(offset)
            } else {
                Err(Reject::Invalid("a node lies outside its page"))
            }
        });
        nodes.collect()
    }

    fn leaf_node(&mut self, page: &[u8], offset: usize, kind: Kind) -> Result<(), Reject> {
        let node = node(page, offset)?;
        let value_bytes = node_size(node);
        let key_bytes = usize::from(node.key_bytes.get());
        let value_at = offset + NODE_BYTES + key_bytes;
        let on_page = match node.flags.get() {
            0 => value_bytes,
            NODE_BIG => 8,
            _ => return Err(Reject::Invalid("flags of a node")),
        };
        let value = page
            .get(value_at..value_at.saturating_add(on_page))
            .ok_or(Reject::Invalid("a node lies outside its page"))?;
        let overflow = if node.flags.get() == NODE_BIG {
            let first = U64::ref_from_bytes(value)
                .map_err(|_| Reject::Invalid("overflow page number"))?
                .get();
            Some(self.overflow(first, value_bytes, kind)?)
        } else {
            None
        };
        match kind {
            Kind::Main if key_bytes == 0 => Err(Reject::Invalid("an empty key")),
            Kind::Main => Ok(()),
            Kind::Free if key_bytes != 8 => Err(Reject::Invalid("key of the free list")),
            Kind::Free => self.free_list(overflow.as_deref().unwrap_or(value)),
        }
    }

    /// Claims the pages of a large value; reads it only where its content matters to LMDB.
    fn overflow(&mut self, first: u64, bytes: usize, kind: Kind) -> Result<Vec<u8>, Reject> {
        let count = (HEADER_BYTES + bytes).div_ceil(self.page_bytes) as u64;
        let mut head = self.page(first)?;
        let header = header(&head)?;
        let found =
            U32::read_from_bytes(&head[12..HEADER_BYTES]).map_or(0, |count| u64::from(count.get()));
        if header.flags.get() & !PAGE_TRANSIENT != PAGE_OVERFLOW || found != count {
            return Err(Reject::Invalid("header of an overflow page"));
        }
        self.claim(first + 1, count - 1)?;
        if kind == Kind::Main {
            return Ok(Vec::new());
        }
        head.resize(HEADER_BYTES + bytes, 0);
        (self.read)(first * self.page_bytes as u64, &mut head)?;
        Ok(head.split_off(HEADER_BYTES))
    }

    /// A list of free pages: their count, then their numbers.
    fn free_list(&mut self, value: &[u8]) -> Result<(), Reject> {
        let mut words = value
            .chunks_exact(8)
            .map(|word| U64::read_from_bytes(word).map_or(0, zerocopy::native_endian::U64::get));
        let count = words
            .next()
            .ok_or(Reject::Invalid("length of a free list"))?;
        let listed = usize::try_from(count).unwrap_or(usize::MAX);
        if words.len() < listed {
            return Err(Reject::Invalid("length of a free list"));
        }
        self.free.extend(words.take(listed));
        Ok(())
    }

    /// A free page is a page of the file that no tree holds, listed once.
    fn check_free_pages(&mut self) -> Result<(), Reject> {
        for number in std::mem::take(&mut self.free) {
            let seen = usize::try_from(number)
                .ok()
                .filter(|_| 2 <= number)
                .and_then(|index| self.seen.get_mut(index));
            match seen {
                Some(seen) if !*seen => *seen = true,
                Some(_) => return Err(Reject::Invalid("a free page is in use")),
                None => return Err(Reject::Invalid("a free page outside the file")),
            }
        }
        Ok(())
    }
}

fn header(page: &[u8]) -> Result<&PageHeader, Reject> {
    let (header, _) =
        PageHeader::ref_from_prefix(page).map_err(|_| Reject::Invalid("header of a page"))?;
    Ok(header)
}

fn node(page: &[u8], offset: usize) -> Result<&Node, Reject> {
    let outside = Reject::Invalid("a node lies outside its page");
    let bytes = page.get(offset..).ok_or(outside.clone())?;
    let (node, _) = Node::ref_from_prefix(bytes).map_err(|_| outside)?;
    Ok(node)
}

/// The low 32 bits of what a node's first two halves stand for. LMDB keeps the low half first on
/// a little-endian machine and the high half first on a big-endian one: a native `u32` in both.
fn node_size(node: &Node) -> usize {
    node.size.get() as usize
}

fn branch_child(page: &[u8], offset: usize) -> Result<u64, Reject> {
    let node = node(page, offset)?;
    if page.len() < offset + NODE_BYTES + usize::from(node.key_bytes.get()) {
        return Err(Reject::Invalid("a node lies outside its page"));
    }
    Ok(u64::from(node.size.get()) | u64::from(node.flags.get()) << 32)
}
