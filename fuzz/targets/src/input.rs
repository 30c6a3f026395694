//! An input, read from its start: what is not there any more is zeros.
//!
//! Never: fails; every sequence of bytes is an input.

/// What is left of an input.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(&bytes[..bytes.len().min(crate::INPUT_BYTES_MAX)])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Up to `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.number(1) as u8
    }

    pub(crate) fn u16(&mut self) -> u16 {
        self.number(2) as u16
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.number(8)
    }

    /// A list of bytes behind its length in two bytes.
    pub(crate) fn list(&mut self) -> &'a [u8] {
        let count = self.u16();
        self.bytes(count.into())
    }

    /// Little-endian.
    fn number(&mut self, bytes: usize) -> u64 {
        let number = self.bytes(bytes).iter().rev();
        number.fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
