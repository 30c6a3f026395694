//! Database names: what a text must be to name a database, and when two texts name the same one.
//!
//! A name is a value, never a path: files are named by number. So what matters is that a person
//! can type it, read it in a list and tell it from its neighbours.
//!
//! Invariants
//! - a [`DbName`] is 1 to 255 bytes of UTF-8 and has none of the characters of [`forbidden`];
//! - a name that begins with [`DbName::UNFINISHED_PREFIX`] is the store's own;
//! - two names are the same exactly when their [folded](DbName::folded) forms are equal: NFC and
//!   full case folding. Punctuation is not folded: `my-db` and `my_db` are two names.
//!
//! Never: changes what the user typed. The name is stored as given, only the folded form compares.

use crate::error::NameError;
use crate::ids::DbId;
use caseless::Caseless;
use std::fmt;
use std::sync::Arc;
use unicode_normalization::UnicodeNormalization;

/// A name that a database can have. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbName(Arc<str>);

impl DbName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// How the names begin that the store gives to databases that are being made: no user can give
    /// or find such a name. It is its own folded form.
    pub const UNFINISHED_PREFIX: &str = "~unfinished-";

    /// A name that a user gives: as [`DbName::new`], but none of the store's own.
    ///
    /// # Errors
    /// Which rule the text breaks, and where.
    pub fn given(text: &str) -> Result<Self, NameError> {
        match Self::new(text)? {
            own if own.is_unfinished() => Err(NameError::Reserved),
            name => Ok(name),
        }
    }

    /// The name of a database that is being made.
    pub(crate) fn unfinished(id: DbId) -> Self {
        Self(format!("{}{}", Self::UNFINISHED_PREFIX, id.get()).into())
    }

    /// Whether a name is the store's own, in whatever case it is given.
    pub fn is_unfinished(&self) -> bool {
        self.0.starts_with('~') && self.folded().starts_with(Self::UNFINISHED_PREFIX)
    }

    /// Checks a text and makes it a name.
    ///
    /// # Errors
    /// Which rule the text breaks, and where.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong { bytes: text.len() });
        }
        if let Some((at, character)) = text.char_indices().find(|(_, c)| forbidden(*c)) {
            return Err(NameError::Character { character, at });
        }
        if text.starts_with('.') {
            return Err(NameError::LeadingDot);
        }
        Ok(Self(text.into()))
    }

    /// The name as the user typed it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What names are compared by: equal for texts that differ only in case or in how accents are
    /// composed. May be longer than the name.
    pub fn folded(&self) -> String {
        fold(&self.0)
    }
}

/// Characters that no name has.
///
/// Beside the separators `/` (paths) and `@` (a position of a database) these are the characters
/// that would let a name break out of its line or its column in a list: control characters
/// (NUL among them), the line and paragraph separators, and the bidirectional embeddings,
/// overrides and isolates, which reorder the text that follows the name. Marks and joiners that
/// act inside a word (as Arabic, Hebrew and Persian need them) are allowed.
pub const fn forbidden(character: char) -> bool {
    matches!(
        character,
        '/' | '@'
            | '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// NFC and full case folding, until neither changes the text any more.
///
/// One round is not enough for every text: folding can yield characters that compose anew. Folding
/// starts from NFD because a few letters fold differently when composed (Greek iota subscript).
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded: String = text.nfc().collect();
    loop {
        let next: String = folded.nfd().default_case_fold().nfc().collect();
        if next == folded {
            return folded;
        }
        folded = next;
    }
}

impl fmt::Display for DbName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DbName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        DbName::new(a).unwrap().folded() == DbName::new(b).unwrap().folded()
    }

    #[test]
    fn twins_in_case_and_composition_are_the_same_name() {
        for (a, b) in [
            ("Orders", "oRDERS"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("CAF\u{c9}", "cafe\u{301}"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{1e9e}", "ss"),
            ("\u{3a3}\u{3c2}", "\u{3c3}\u{3c3}"),
            ("\u{212a}", "k"),
            ("\u{212b}", "a\u{30a}"),
            ("\u{fb01}n", "FIN"),
            ("\u{1fb3}", "\u{3b1}\u{345}"),
            ("\u{ac00}", "\u{1100}\u{1161}"),
        ] {
            assert!(same(a, b), "{a:?} and {b:?}");
        }
    }

    #[test]
    fn lookalikes_stay_apart() {
        for (a, b) in [
            ("my-db", "my_db"),
            ("a", "\u{430}"),
            ("a", "a "),
            ("a", "a."),
            ("i", "\u{131}"),
            ("\u{130}", "i"),
            ("\u{ff41}", "a"),
            ("2", "\u{b2}"),
            ("ab", "a\u{200d}b"),
        ] {
            assert!(!same(a, b), "{a:?} and {b:?}");
        }
    }

    /// Every character alone, and behind letters that it could compose with.
    #[test]
    fn folding_a_folded_text_changes_nothing() {
        for character in '\0'..=char::MAX {
            let alone = fold(&character.to_string());
            assert_eq!(fold(&alone), alone, "{character:?}");
            let behind = fold(&format!("A{character}\u{345}"));
            assert_eq!(fold(&behind), behind, "{character:?} behind a letter");
        }
    }

    #[test]
    fn all_control_characters_are_forbidden() {
        for character in ('\0'..=char::MAX).filter(|c| c.is_control()) {
            assert!(forbidden(character), "{character:?}");
        }
    }
}
