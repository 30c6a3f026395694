//! Checks the pages of an LMDB file before LMDB maps it.
//!
//! LMDB has no checksums and believes what it reads: a page that is missing or nonsense is not an
//! error to it but a signal that ends the process. So every page that LMDB could reach from the
//! newest meta page is read here with plain reads first, and each must be in the file, be what its
//! parent says, and keep its nodes inside itself, side by side. Its keys must ascend and lie where
//! its parent's keys say: LMDB would not find others, and rows would be lost without an error.
//!
//! ```text
//! meta page x 2 -> free tree   keys: transaction numbers   values: lists of free page numbers
//!               -> main tree   keys: ours                  values: ours, large ones on overflow pages
//! ```
//! Only what our environments use is accepted: no named, sorted-duplicate or sub-databases. The
//! lay-out is that of LMDB's data version 1 on 64-bit machines, in the machine's byte order.
//!
//! Never: maps the file, judges our own values (their checksums do), writes.

mod page;

use crate::error::Reject;
use page::{
    HEADER_BYTES, Kind, NODE_BIG, NODE_BYTES, PAGE_BRANCH, PAGE_LEAF, PAGE_META, PAGE_OVERFLOW,
    PageHeader, ascending_keys, branch_child, header, node, node_size, on_page_bytes,
};
use zerocopy::native_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

const _: () = assert!(
    usize::BITS == 64,
    "LMDB's pages are read as on a 64-bit machine"
);

const MAGIC: u32 = 0xbeef_c0de;
const DATA_VERSION: u32 = 1;
/// The root of an empty tree.
const NO_PAGE: u64 = u64::MAX;
/// LMDB's cursors go no deeper.
const DEPTH_MAX: u16 = 32;
/// The free tree's keys are machine words.
const TREE_INTEGER_KEY: u16 = 0x08;

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
    // A list is filed under a transaction that was there.
    let behind = meta.transaction.get().checked_add(1);
    let upper = behind.map(|number| number.to_be_bytes().to_vec());
    walk.tree(&meta.free, Kind::Free, upper)?;
    walk.tree(&meta.main, Kind::Main, None)?;
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
    if meta.magic.get() != MAGIC || header.flags.get() != PAGE_META || header.number.get() != number
    {
        return Err(Reject::Magic);
    }
    if meta.version.get() != DATA_VERSION {
        return Err(Reject::Version {
            found: meta.version.get(),
            supported: DATA_VERSION,
        });
    }
    if meta.free.flags.get() != TREE_INTEGER_KEY || meta.main.flags.get() != 0 {
        return Err(Reject::Invalid("tree flags of a meta page"));
    }
    Ok(meta)
}

/// The keys that a page may hold, as `page::order` writes them.
#[derive(Clone)]
struct Span {
    lower: Vec<u8>,
    /// The first key that is too large, if any is.
    upper: Option<Vec<u8>>,
}

/// A page to read.
struct Todo {
    number: u64,
    /// The root's is 1.
    level: u16,
    span: Span,
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
    /// Walks a tree, whose keys are all below `upper`.
    fn tree(&mut self, tree: &Tree, kind: Kind, upper: Option<Vec<u8>>) -> Result<(), Reject> {
        if tree.root.get() == NO_PAGE {
            // LMDB counts on from the depth, when the tree gets a root.
            return match (tree.entries.get(), tree.depth.get()) {
                (0, 0) => Ok(()),
                (0, _) => Err(Reject::Invalid("a tree without pages has a depth")),
                _ => Err(Reject::Invalid("a tree without pages has entries")),
            };
        }
        let depth = tree.depth.get();
        if depth == 0 || DEPTH_MAX < depth {
            return Err(Reject::Invalid("depth of a tree"));
        }
        let mut entries = 0_u64;
        let mut todo = vec![Todo {
            number: tree.root.get(),
            level: 1,
            span: Span {
                lower: Vec::new(),
                upper,
            },
        }];
        while let Some(next) = todo.pop() {
            let page = self.page(next.number)?;
            if next.level == depth {
                entries += self.leaf(&page, kind, &next.span)?;
            } else {
                self.branch(&page, kind, &next, &mut todo)?;
            }
        }
        if entries == tree.entries.get() {
            Ok(())
        } else {
            Err(Reject::Invalid("entries of a tree"))
        }
    }

    /// Checks a leaf page; returns how many entries it has.
    fn leaf(&mut self, page: &[u8], kind: Kind, span: &Span) -> Result<u64, Reject> {
        let nodes = self.nodes(page, PAGE_LEAF)?;
        let keys = ascending_keys(page, &nodes, kind)?;
        let first = keys.first().is_none_or(|key| span.lower <= *key);
        let last = keys.last().zip(span.upper.as_ref());
        if !first || last.is_some_and(|(key, upper)| upper <= key) {
            return Err(Reject::Invalid("a key lies outside its page's span"));
        }
        for offset in &nodes {
            self.leaf_node(page, *offset, kind)?;
        }
        Ok(nodes.len() as u64)
    }

    /// Checks a branch page; its children are to be read next, each with its part of the span.
    fn branch(
        &self,
        page: &[u8],
        kind: Kind,
        at: &Todo,
        todo: &mut Vec<Todo>,
    ) -> Result<(), Reject> {
        let nodes = self.nodes(page, PAGE_BRANCH)?;
        // LMDB stops the process at a branch of the main tree with one child.
        if kind == Kind::Main && nodes.len() < 2 {
            return Err(Reject::Invalid("a branch page has one child"));
        }
        // The first node's key is never read: its child starts where the page does.
        let keys = ascending_keys(page, nodes.get(1..).unwrap_or_default(), kind)?;
        let first = keys.first().is_none_or(|key| at.span.lower < *key);
        let last = keys.last().zip(at.span.upper.as_ref());
        if !first || last.is_some_and(|(key, upper)| upper <= key) {
            return Err(Reject::Invalid("a key lies outside its page's span"));
        }
        let mut keys = keys.into_iter();
        let mut lower = at.span.lower.clone();
        for offset in nodes {
            let next = keys.next();
            let upper = next.clone().or_else(|| at.span.upper.clone());
            todo.push(Todo {
                number: branch_child(page, offset)?,
                level: at.level + 1,
                span: Span { lower, upper },
            });
            lower = next.unwrap_or_default();
        }
        Ok(())
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

    /// The offsets of a page's nodes, which lie inside the page and apart from each other.
    fn nodes(&self, page: &[u8], wanted: u16) -> Result<Vec<usize>, Reject> {
        let header = header(page)?;
        let (lower, upper) = (
            usize::from(header.lower.get()),
            usize::from(header.upper.get()),
        );
        // Bits that LMDB has for pages in memory are in no page that it writes. It would believe them: write to a page in
        // the map, or leave one out of a transaction.
        if header.flags.get() != wanted {
            return Err(Reject::Invalid("kind of a page"));
        }
        let bounds = HEADER_BYTES < lower && lower <= upper && upper <= self.page_bytes;
        if !bounds || lower % 2 != 0 {
            return Err(Reject::Invalid("bounds of a page"));
        }
        let pointers = page[HEADER_BYTES..lower].chunks_exact(2);
        let nodes: Vec<usize> = pointers
            .map(|pointer| usize::from(u16::from_ne_bytes([pointer[0], pointer[1]])))
            .collect();
        // LMDB packs the nodes: they fill the page from `upper` to its end, in any order.
        let mut placed = nodes.clone();
        placed.sort_unstable();
        let mut end = upper;
        for offset in placed {
            if offset != end {
                return Err(Reject::Invalid("a node does not lie behind another one"));
            }
            end += on_page_bytes(node(page, offset)?, wanted).next_multiple_of(2);
        }
        if end == self.page_bytes {
            Ok(nodes)
        } else {
            Err(Reject::Invalid("the nodes do not fill their page"))
        }
    }

    fn leaf_node(&mut self, page: &[u8], offset: usize, kind: Kind) -> Result<(), Reject> {
        let node = node(page, offset)?;
        let value_bytes = node_size(node);
        let key_bytes = usize::from(node.key_bytes.get());
        if !matches!(node.flags.get(), 0 | NODE_BIG) {
            return Err(Reject::Invalid("flags of a node"));
        }
        let value_at = offset + NODE_BYTES + key_bytes;
        let value = page
            .get(value_at..offset.saturating_add(on_page_bytes(node, PAGE_LEAF)))
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
        if header.flags.get() != PAGE_OVERFLOW || found != count {
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

    /// A list of free pages: their count, then their numbers, the largest first. LMDB takes a run
    /// of them by its ends.
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
        let first = self.free.len();
        self.free.extend(words.take(listed));
        if self.free[first..].is_sorted_by(|one, next| next < one) {
            Ok(())
        } else {
            Err(Reject::Invalid("order of a free list"))
        }
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
