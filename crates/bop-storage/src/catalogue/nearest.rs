//! Which name the user may have meant.
//!
//! Never: decides anything. A suggestion is text in an error.

/// Names that are looked at: an error is answered quickly in a store of any size.
const CANDIDATES_MAX: usize = 10_000;

/// Names are as similar as this (1 is equal) or are not suggested.
const SIMILARITY_MIN: f64 = 0.5;

/// The most similar candidate; of equally similar ones, the first by alphabet.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let wanted = name.to_lowercase();
    let similar = |candidate: &'a str| {
        let other = candidate.to_lowercase();
        let similarity = strsim::normalized_damerau_levenshtein(&wanted, &other);
        // A name that starts or ends as another one is meant, however much is missing.
        let part = 3 <= wanted.chars().count().min(other.chars().count())
            && (contains_end(&wanted, &other) || contains_end(&other, &wanted));
        let similarity = if part {
            similarity.max(SIMILARITY_MIN)
        } else {
            similarity
        };
        (SIMILARITY_MIN <= similarity).then_some((similarity, candidate))
    };
    candidates
        .take(CANDIDATES_MAX)
        .filter_map(similar)
        .max_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| y.cmp(x)))
        .map(|(_, candidate)| candidate.to_owned())
}

fn contains_end(long: &str, short: &str) -> bool {
    long.starts_with(short) || long.ends_with(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_found() {
        let names = ["chinook", "northwind", "orders", "orders-2024", "x"];
        for (typed, meant) in [
            ("chinok", Some("chinook")),
            ("CHINOOK2", Some("chinook")),
            ("north", Some("northwind")),
            ("order", Some("orders")),
            ("y", None),
            ("warehouse", None),
        ] {
            let found = nearest(typed, names.into_iter());
            assert_eq!(found.as_deref(), meant, "{typed}");
        }
    }

    #[test]
    fn of_equally_similar_names_the_first_by_alphabet_is_given() {
        let found = nearest("dbx", ["dbc", "dba", "dbb"].into_iter());
        assert_eq!(found.as_deref(), Some("dba"));
    }
}
