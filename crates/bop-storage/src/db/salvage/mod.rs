//! Salvage: each database of a damaged store, brought to its last provable commit in a new one.
//!
//! ```text
//! survey: rows, log -> a line of commits for each database, and what stands behind its end
//!   -> copy the end of each line --its pages add up--> saved
//!        '-- a page cannot be read, or they do not --> search: the newest commit that can be proved
//!              '-- none: not saved, and said           --> copy that --> saved, and what was lost is said
//!   -> the new store gets its name
//! ```
//! Invariants
//! - the damaged store is read and never written;
//! - what is saved is the state of one commit, proved page by page, or entry by entry;
//! - whatever may have been lost is said; a database is called whole only if nothing hints at damage;
//! - a new store that is there has all that could be saved.
//!
//! Never: changes the damaged store, replaces what is there.

mod copy;
mod lines;
mod pass;
mod provable;
mod report;
mod save;
mod search;
mod source;
mod survey;
mod target;

pub use report::{SalvageLoss, SalvageReport, SalvagedDatabase};

use self::save::{Saving, loss};
use self::source::Source;
use self::survey::{Survey, Surveyed};
use self::target::{Target, check_target};
use super::options::Options;
use crate::error::{CatalogueError, SalvageError};
use crate::name::DbName;
use std::collections::HashSet;
use std::path::Path;

/// Salvages the store at `path` into a new one at `new`, or of its databases only one.
pub(super) fn salvage(
    path: &Path,
    new: &Path,
    options: &Options,
    only: Option<&str>,
) -> Result<SalvageReport, SalvageError> {
    let _span = tracing::info_span!("salvage", path = %path.display()).entered();
    // Before anything is read, which may take long.
    let place = check_target(new, path)?;
    let source = Source::open(path, options)?;
    let mut survey = Survey::make(&source)?;
    name_apart(&mut survey.databases);
    if let Some(name) = only {
        keep_only(&mut survey, name)?;
    }
    let target = Target::begin(place, options)?;
    let saving = Saving::into(&target.store, &source, &survey.catalogue);
    let databases = saving.all(survey.databases)?;
    target.finish()?;
    let behind = survey.catalogue_behind;
    Ok(SalvageReport {
        store: source.store,
        manifest: source.manifest_damage.clone(),
        catalogue: survey.catalogue_damage.map(|damage| loss(damage, behind)),
        databases,
    })
}

/// Names that were made up must not be those of others.
fn name_apart(databases: &mut [Surveyed]) {
    let fold = |name: &str| DbName::new(name).map_or_else(|_| name.to_owned(), |n| n.folded());
    let own = databases.iter().filter(|one| !one.nameless);
    let mut taken: HashSet<String> = own.map(|one| fold(&one.name)).collect();
    for one in databases.iter_mut().filter(|one| one.nameless) {
        while !taken.insert(fold(&one.name)) {
            one.name.push('+');
        }
    }
}

fn keep_only(survey: &mut Survey, name: &str) -> Result<(), SalvageError> {
    let made_up = survey
        .databases
        .iter()
        .find(|one| one.nameless && one.name == name);
    let id = match made_up {
        Some(one) => one.id,
        None => survey
            .catalogue
            .find(name)
            .map_err(SalvageError::Database)?,
    };
    survey.databases.retain(|one| one.id == id);
    if survey.databases.is_empty() {
        return Err(SalvageError::Database(CatalogueError::NotFound {
            name: name.to_owned(),
            nearest: None,
        }));
    }
    Ok(())
}
