//! `bop commits tail`: what was committed, oldest first, as the log has it.

use super::Call;
use crate::failure::Failure;
use bop_storage::{CommitsFrom, DbId, LoggedCommit, Lsn};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Commits shown when nobody says from where.
const TAIL: usize = 10;

/// Commits read at a time, about.
const PAGE: usize = 1000;

/// How long a follower waits before it looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the command.
pub(super) fn tail(
    call: &mut Call<'_>,
    database: Option<&str>,
    from: Option<u64>,
    follow: bool,
) -> Result<u8, Failure> {
    let manager = call.manager;
    let of = database.map(|name| manager.info(name)).transpose()?;
    let of = of.map(|info| info.id);
    let mut shown = Shown::new(call);
    let mut next = match from {
        Some(from) => Some(Lsn::new(from)),
        None => Some(shown.newest(of)?),
    };
    loop {
        let page = manager.commits(next, PAGE, of)?;
        shown.show(page.commits.iter())?;
        let more = next != Some(page.next);
        next = Some(page.next);
        if more {
            continue;
        }
        if !follow {
            return Ok(0);
        }
        shown.call.check_wanted()?;
        manager.wait_for_commits(page.next, PATIENCE);
    }
}

/// The same for what the cursor of that name has not seen.
pub(super) fn tail_cursor(
    call: &mut Call<'_>,
    name: &str,
    database: Option<&str>,
    from: Option<u64>,
    follow: bool,
) -> Result<u8, Failure> {
    let manager = call.manager;
    let from = from.map_or(CommitsFrom::Oldest, |from| CommitsFrom::At(Lsn::new(from)));
    let cursor = manager.subscribe_commits(name, from, database)?;
    let mut shown = Shown::new(call);
    loop {
        let page = cursor.read(PAGE)?;
        shown.show(page.commits.iter())?;
        // Whoever reads has it.
        cursor.acknowledge(page.next)?;
        if !page.commits.is_empty() {
            continue;
        }
        if !follow {
            cursor.flush()?;
            return Ok(0);
        }
        shown.call.check_wanted()?;
        cursor.wait(PATIENCE)?;
    }
}

struct Shown<'a, 'c> {
    call: &'a mut Call<'c>,
    /// Of databases that there are.
    names: BTreeMap<DbId, String>,
}

impl<'a, 'c> Shown<'a, 'c> {
    fn new(call: &'a mut Call<'c>) -> Self {
        Self {
            call,
            names: BTreeMap::new(),
        }
    }

    /// Shows the last few commits, and answers where the next ones are.
    fn newest(&mut self, of: Option<DbId>) -> Result<Lsn, Failure> {
        let (mut last, mut next) = (VecDeque::new(), None);
        loop {
            let page = self.call.manager.commits(next, PAGE, of)?;
            let end = next == Some(page.next);
            next = Some(page.next);
            last.extend(page.commits);
            last.drain(..last.len().saturating_sub(TAIL));
            if end {
                self.show(last.iter())?;
                return Ok(page.next);
            }
        }
    }

    fn show<'l>(&mut self, commits: impl Iterator<Item = &'l LoggedCommit>) -> Result<(), Failure> {
        for commit in commits {
            let name = self.name_of(commit.database);
            match self.call.json {
                true => self.call.line(to_json(commit, name.as_deref()))?,
                false => self.call.line(to_text(commit, name.as_deref()))?,
            }
        }
        self.call.flush()
    }

    fn name_of(&mut self, id: DbId) -> Option<String> {
        if !self.names.contains_key(&id) {
            let all = self.call.manager.databases().into_iter();
            self.names.extend(all.map(|info| (info.id, info.name)));
        }
        self.names.get(&id).cloned()
    }
}

fn to_json(commit: &LoggedCommit, name: Option<&str>) -> Value {
    let pages = commit.pages.as_ref();
    json!({
        "lsn": commit.lsn.get(),
        "time_us": commit.time_us,
        "database": commit.database.get(),
        "name": name,
        "parent": commit.parent.get(),
        "group": commit.group,
        "pages": pages.map(|pages| pages.iter().map(|page| page.get()).collect::<Vec<_>>()),
        "page_count": commit.page_count,
        "page_size": commit.page_size.get(),
        "rolling_checksum": commit.rolling_checksum.to_string(),
    })
}

fn to_text(commit: &LoggedCommit, name: Option<&str>) -> String {
    let pages = match &commit.pages {
        Some(pages) => format!("{} pages", pages.len()),
        None => "a part of its pages".to_owned(),
    };
    let name = name.map_or_else(
        || format!("id {}", commit.database),
        |name| format!("{name:?}"),
    );
    format!(
        "lsn {} database {name} {pages} of {} checksum {}",
        commit.lsn, commit.page_count, commit.rolling_checksum
    )
}
