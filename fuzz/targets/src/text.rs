//! Texts that people type: names of databases, and what stands behind their `@`.

use crate::input::Input;
use bop_storage::At;
use bop_storage::catalogue::DbName;
use bop_storage::name::forbidden;

/// Two texts are names or not. Names obey their rules, and being the same name is an equivalence.
pub fn names(data: &[u8]) {
    let mut input = Input::new(data);
    let first = String::from_utf8_lossy(input.list()).into_owned();
    let second = String::from_utf8_lossy(input.rest()).into_owned();
    let names = [&first, &second].map(|text| DbName::new(text));
    for (text, name) in [&first, &second].into_iter().zip(&names) {
        let Ok(name) = name else { continue };
        assert_eq!(name.as_str(), text, "a name is stored as given");
        assert!((1..=DbName::BYTES_MAX).contains(&text.len()));
        assert!(!text.starts_with('.') && !text.chars().any(forbidden));
        // What would be a path, a position or a second line of a list.
        assert!(!text.contains(['/', '@', '\0', '\n', '\r', '\u{1b}']));
        let folded = name.folded();
        if let Ok(again) = DbName::new(&folded) {
            assert_eq!(again.folded(), folded, "folding twice changes nothing");
        }
        let given = DbName::given(text);
        assert_eq!(given.is_err(), name.is_unfinished());
    }
    if let [Ok(one), Ok(other)] = &names {
        let same = one.folded() == other.folded();
        assert!(same || one != other);
        if same {
            assert_eq!(
                one.is_unfinished(),
                other.is_unfinished(),
                "twins: {one} and {other}"
            );
        }
    }
}

/// What is read is written so that it is read again, and an error names the text.
pub fn at(data: &[u8]) {
    let text = String::from_utf8_lossy(Input::new(data).rest()).into_owned();
    match text.parse::<At>() {
        Ok(at) => {
            let written = at.to_string();
            assert_eq!(
                written.parse::<At>().as_ref(),
                Ok(&at),
                "{text:?} is {written:?}"
            );
        }
        Err(error) => assert_eq!(error.text, text),
    }
}
