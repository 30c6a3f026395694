//! The bytes of one page, as readers hold them.
//!
//! Invariants
//! - the bytes never change while anybody holds them; a clone shares them;
//! - a page of zeros costs no memory.
//!
//! Never: knows where the bytes came from, or whether they were verified.

use crate::buffer::Buffer;
use crate::ids::PageSize;
use crate::io::Block;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Where every page of zeros points to.
static ZEROS: [u8; PageSize::MAX.bytes()] = [0; PageSize::MAX.bytes()];

/// The content of one page. Cloning shares it.
#[derive(Clone)]
pub struct PageBytes(Content);

#[derive(Clone)]
enum Content {
    Zeros(PageSize),
    Copied(Arc<Buffer>),
    /// As the disk delivered it. A vector and not a slice in the `Arc`: a slice of blocks would
    /// push the counters in front of it out to a whole block.
    Blocks(Arc<Vec<Block>>),
}

impl PageBytes {
    /// A page of zeros.
    pub const fn zeroed(size: PageSize) -> Self {
        Self(Content::Zeros(size))
    }

    /// A page with a copy of `content`.
    pub fn copy_of(content: &[u8]) -> Self {
        Self(Content::Copied(Arc::new(Buffer::copy_of(content))))
    }

    /// A page that is exactly the content of `blocks`, without copying.
    pub fn from_blocks(blocks: Vec<Block>) -> Self {
        Self(Content::Blocks(Arc::new(blocks)))
    }
}

impl Deref for PageBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Content::Zeros(size) => &ZEROS[..size.bytes()],
            Content::Copied(bytes) => bytes,
            Content::Blocks(blocks) => blocks.as_bytes(),
        }
    }
}

impl AsRef<[u8]> for PageBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for PageBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for PageBytes {}

impl fmt::Debug for PageBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageBytes({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::zeroed_blocks;

    #[test]
    fn equal_content_is_equal_wherever_it_came_from() {
        let size = PageSize::new(8192).unwrap();
        let zeros = PageBytes::zeroed(size);
        assert_eq!(zeros.len(), 8192);
        assert_eq!(zeros, PageBytes::copy_of(&[0; 8192]));
        assert_eq!(zeros, PageBytes::from_blocks(zeroed_blocks(2)));
        assert_ne!(zeros, PageBytes::zeroed(PageSize::DEFAULT));
    }
}
