//! The bytes of one page, as readers hold them.
//!
//! Invariants
//! - the bytes never change while anybody holds them; a clone shares them;
//! - a page of zeros costs no memory.
//!
//! Never: knows where the bytes came from, or whether they were verified.

use crate::buffer::Buffer;
use crate::ids::PageSize;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Where every page of zeros points to.
static ZEROS: [u8; 2 * PageSize::MAX.bytes()] = [0; 2 * PageSize::MAX.bytes()];

/// The content of one page. Cloning shares it.
#[derive(Clone)]
pub struct PageBytes(Content);

#[derive(Clone)]
enum Content {
    Zeros(PageSize),
    Shared(Arc<Buffer>),
}

impl PageBytes {
    /// A page of zeros.
    pub const fn zeroed(size: PageSize) -> Self {
        Self(Content::Zeros(size))
    }

    /// A page with a copy of `content`.
    pub fn copy_of(content: &[u8]) -> Self {
        Self::of(Buffer::copy_of(content))
    }

    /// A page that is the content of `buffer`, without copying.
    pub fn of(buffer: Buffer) -> Self {
        Self(Content::Shared(Arc::new(buffer)))
    }

    /// Bytes of memory that the page takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        match &self.0 {
            Content::Zeros(size) => size.bytes(),
            Content::Shared(bytes) => bytes.capacity(),
        }
    }

    /// So many bytes behind the page are memory of its own, too: whoever looks at it where it is, and past
    /// its end, does no harm. What is there means nothing. Of a page of 4 KiB or more whose buffer was made for it, 256 at least.
    pub fn readable_past_end(&self) -> usize {
        match &self.0 {
            Content::Zeros(size) => ZEROS.len() - size.bytes(),
            Content::Shared(bytes) => bytes.capacity() - bytes.len(),
        }
    }
}

impl Deref for PageBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Content::Zeros(size) => &ZEROS[..size.bytes()],
            Content::Shared(bytes) => bytes,
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

    #[test]
    fn equal_content_is_equal_wherever_it_came_from() {
        let size = PageSize::new(8192).unwrap();
        let zeros = PageBytes::zeroed(size);
        assert_eq!(zeros.len(), 8192);
        assert_eq!(zeros, PageBytes::copy_of(&[0; 8192]));
        let mut buffer = Buffer::with_capacity(8192);
        buffer.resize(8192, 0);
        assert_eq!(zeros, PageBytes::of(buffer));
        assert_ne!(zeros, PageBytes::zeroed(PageSize::DEFAULT));
    }

    #[test]
    fn behind_a_page_from_4_kib_on_there_is_memory() {
        for bytes_log2 in 12..=16 {
            let size = PageSize::new(1 << bytes_log2).unwrap();
            let pages = [
                PageBytes::zeroed(size),
                PageBytes::copy_of(&vec![1; size.bytes()]),
            ];
            for page in pages {
                assert!(256 <= page.readable_past_end(), "{page:?}");
            }
        }
    }
}
