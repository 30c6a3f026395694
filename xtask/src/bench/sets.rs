//! The sets of works that are measured together.
//!
//! Never: runs anything.

use super::log_works::LOG;
use super::page_works::PAGES;
use super::sql_works::SQL;
use super::works::Work;

/// Which works belong together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Set {
    /// The log's table.
    Log,
    /// What applications do over SQL.
    Sql,
    /// The page store's table.
    Pages,
}

impl Set {
    /// Its works, in the order of their table.
    pub(crate) fn works(self) -> impl Iterator<Item = &'static Work> {
        let table = match self {
            Self::Log => LOG,
            Self::Sql => SQL,
            Self::Pages => PAGES,
        };
        table.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::works::Want;
    use std::collections::BTreeSet;

    #[test]
    fn every_work_has_its_own_name_and_an_aim_no_lower_than_what_must_be() {
        for set in [Set::Log, Set::Sql, Set::Pages] {
            let mut ids = BTreeSet::new();
            for Work { want, .. } in set.works() {
                assert!(want.at_least <= want.aim, "{}", want.id);
                assert!(ids.insert(want.id), "{} is there twice", want.id);
            }
        }
    }

    #[test]
    fn a_work_of_both_tables_wants_the_same_in_both() {
        let both: Vec<(Want, Want)> = Set::Log
            .works()
            .flat_map(|one| Set::Pages.works().map(move |other| (one.want, other.want)))
            .filter(|(one, other)| one.id == other.id)
            .collect();
        assert_eq!(both.len(), 3);
        for (one, other) in both {
            assert_eq!((one.at_least, one.aim), (other.at_least, other.aim));
        }
    }
}
