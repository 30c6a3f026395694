//! LZ4 blocks in which runs of zeros are the only matches.
//!
//! ```text
//! page   | rows 0 | 0 0 0 0 0 0 0 ... 0 | rows          |
//! block  | token, literals | 1, length  | token, literals |
//! ```
//! A page of a B-tree that is not full has one long run of zeros, and where its rows are random, encrypted or
//! compressed that run is all there is to find.
//!
//! Invariants
//! - any decoder of LZ4 blocks makes the page of it: a match begins twelve bytes before the end or earlier, and the
//!   last five bytes are literals (the format's end conditions, `lz4_Block_format.md`);
//! - it is never longer than what [`bytes_max`] says.

/// Zeros are looked for by whole lines: a run of less than two may be missed.
const LINE_BYTES: usize = 32;

/// So many bytes at the end are literals.
const LITERAL_TAIL_BYTES: usize = 5;

/// The shortest match.
const MATCH_BYTES_MIN: usize = 4;

/// Bytes of the longest block that a page of so many bytes makes: all of it literals.
pub(super) const fn bytes_max(page_bytes: usize) -> usize {
    page_bytes + page_bytes / 255 + 2
}

/// Makes the block in `out`, which has [`bytes_max`] bytes; how many of them it takes.
pub(super) fn encode(page: &[u8], out: &mut [u8]) -> usize {
    let mut block = Block { out, bytes: 0 };
    let mut literals = 0;
    while let Some((start, end)) = next_run(page, literals) {
        // The first zero is a literal: a match repeats the byte in front of it.
        block.sequence(&page[literals..=start], end - start - 1);
        literals = end;
    }
    block.last(&page[literals..]);
    block.bytes
}

/// The next run of zeros that may be a match behind a literal, from `from` on.
fn next_run(page: &[u8], from: usize) -> Option<(usize, usize)> {
    let first = from.next_multiple_of(LINE_BYTES);
    let lines = page.get(first..)?.chunks_exact(LINE_BYTES);
    let nth = lines.clone().position(is_zero)?;
    let line = first + nth * LINE_BYTES;
    let in_front = page[from..line].iter().rev().take_while(|byte| **byte == 0);
    let start = line - in_front.count();
    let whole = lines.skip(nth).take_while(|line| is_zero(line)).count();
    let end = line + whole * LINE_BYTES;
    let behind = page[end..].iter().take_while(|byte| **byte == 0).count();
    let end = (end + behind).min(page.len() - LITERAL_TAIL_BYTES);
    // A whole line of zeros: its match begins early enough, and is long enough.
    Some((start, end))
}

fn is_zero(line: &[u8]) -> bool {
    line.iter().fold(0, |all, byte| all | byte) == 0
}

/// A block that is being made.
struct Block<'o> {
    out: &'o mut [u8],
    bytes: usize,
}

impl Block<'_> {
    /// Literals, and `repeated` times more the last of them.
    fn sequence(&mut self, literals: &[u8], repeated: usize) {
        let length = repeated - MATCH_BYTES_MIN;
        self.token(literals, nibble(length));
        self.push(&1u16.to_le_bytes());
        self.rest_of(length);
    }

    /// The literals that end it.
    fn last(&mut self, literals: &[u8]) {
        self.token(literals, 0);
    }

    fn token(&mut self, literals: &[u8], low: u8) {
        self.push(&[nibble(literals.len()) << 4 | low]);
        self.rest_of(literals.len());
        self.push(literals);
    }

    /// What of a length its half of a token does not say.
    fn rest_of(&mut self, length: usize) {
        if let Some(mut rest) = length.checked_sub(15) {
            while 255 <= rest {
                self.push(&[255]);
                rest -= 255;
            }
            self.push(&[rest as u8]);
        }
    }

    fn push(&mut self, more: &[u8]) {
        let end = self.bytes + more.len();
        self.out[self.bytes..end].copy_from_slice(more);
        self.bytes = end;
    }
}

/// What half of a token says of a length.
fn nibble(length: usize) -> u8 {
    length.min(15) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lz4::decompress;
    use proptest::prelude::*;

    /// The block's length, after it was made a page again.
    fn encoded(page: &[u8]) -> usize {
        let mut block = vec![0; bytes_max(page.len())];
        let bytes = encode(page, &mut block);
        let mut again = vec![7; page.len()];
        assert!(decompress(&block[..bytes], &mut again));
        assert_eq!(again, page);
        bytes
    }

    #[test]
    fn rows_at_both_ends_of_a_page_are_all_that_is_left_of_it() {
        let mut page = vec![0; 4096];
        page[..70].fill(1);
        page[3000..].fill(2);
        // Of each length what a token has no room for, the zero that is repeated, and how often.
        let rows = (1 + 1 + 71) + (2 + 12) + (1 + 5 + 1096);
        assert_eq!(encoded(&page), rows);
    }

    #[test]
    fn a_page_without_zeros_gets_no_longer_than_it_may() {
        for bytes in [512, 4096, 65536] {
            assert!(encoded(&vec![9; bytes]) <= bytes_max(bytes));
        }
    }

    #[test]
    fn zeros_at_the_end_stay_literals_where_the_format_wants_that() {
        // A literal, a run that ends five bytes before the end, and these.
        assert_eq!(encoded(&[0; 4096]), (1 + 1 + 2 + 16) + (1 + 5));
        for rows in 4000..=4096 {
            let mut page = vec![0; 4096];
            page[..rows].fill(3);
            encoded(&page);
        }
    }

    proptest! {
        #[test]
        fn any_page_comes_back(stretches in prop::collection::vec((0usize..300, any::<u8>(), 0usize..300), 1..40)) {
            let mut page = Vec::new();
            for (rows, seed, zeros) in stretches {
                page.extend((0..rows).map(|nth| seed.wrapping_mul(nth as u8 | 1) | 1));
                page.resize(page.len() + zeros, 0);
            }
            page.resize(page.len().next_multiple_of(8), 0);
            prop_assert!(encoded(&page) <= bytes_max(page.len()));
        }
    }
}
