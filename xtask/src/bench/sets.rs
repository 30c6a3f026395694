//! The sets of works that are measured together.
//!
//! Never: runs anything.

use super::log_works::LOG;
use super::page_works::PAGES;
use super::works::Work;

/// Which works belong together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Set {
    /// The log's table.
    Log,
    /// The works of it that go over SQL.
    Sql,
    /// The page store's table.
    Pages,
}

impl Set {
    /// Its works, in the order of their table.
    pub(crate) fn works(self) -> impl Iterator<Item = &'static Work> {
        let table = match self {
            Self::Log | Self::Sql => LOG,
            Self::Pages => PAGES,
        };
        table
            .iter()
            .filter(move |work| self != Self::Sql || over_sql(work))
    }
}

fn over_sql(work: &Work) -> bool {
    ["sql", "bytes", "create"]
        .iter()
        .any(|kind| work.want.id.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::works::Want;
    use std::collections::BTreeSet;

    #[test]
    fn every_work_has_its_own_name_and_an_aim_no_lower_than_what_must_be() {
        for set in [Set::Log, Set::Pages] {
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

    #[test]
    fn the_works_over_sql_are_some_of_the_logs() {
        let (all, sql) = (Set::Log.works().count(), Set::Sql.works().count());
        assert!(0 < sql && sql < all);
        assert!(Set::Sql.works().all(over_sql));
    }
}
