//! The sets of works that are measured together.
//!
//! Never: runs anything.

use super::ceilings::CEILINGS;
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
    /// What an engine that does nothing reaches.
    Ceilings,
}

impl Set {
    /// Its works, in the order of their table.
    pub(crate) fn works(self) -> impl Iterator<Item = &'static Work> {
        let table = match self {
            Self::Log => LOG,
            Self::Sql => SQL,
            Self::Pages => PAGES,
            Self::Ceilings => CEILINGS,
        };
        table.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::works::Want;
    use std::collections::{BTreeMap, BTreeSet};

    const ALL: [Set; 4] = [Set::Log, Set::Sql, Set::Pages, Set::Ceilings];

    #[test]
    fn every_work_has_its_own_name_and_an_aim_no_lower_than_what_must_be() {
        for set in ALL {
            let mut ids = BTreeSet::new();
            for Work { want, .. } in set.works() {
                assert!(want.at_least <= want.aim, "{}", want.id);
                assert!(ids.insert(want.id), "{} is there twice", want.id);
            }
        }
    }

    #[test]
    fn a_work_of_several_tables_wants_the_same_in_each() {
        let mut known: BTreeMap<&str, Want> = BTreeMap::new();
        let mut again = 0;
        for Work { want, .. } in ALL.into_iter().flat_map(Set::works) {
            if let Some(first) = known.insert(want.id, *want) {
                again += 1;
                assert_eq!((first.at_least, first.aim), (want.at_least, want.aim));
            }
        }
        assert_eq!(again, 3 + CEILINGS.len(), "each ceiling is of a work");
    }
}
