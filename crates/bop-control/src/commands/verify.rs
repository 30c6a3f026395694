//! `bop verify`: every checksum, with `--deep` every b-tree too. Findings are an answer, not an
//! error: they go to standard output, and the exit status is 3.
//!
//! Never: calls it damage that a database was dropped meanwhile, or the store closed.

use super::Call;
use crate::failure::Failure;
use crate::sql::SqlDoor;
use bop_storage::error::{ErrorCode, Place};
use bop_storage::ids::DbKind;
use bop_storage::{DatabaseInfo, Manager};
use serde_json::{Value, json};
use std::fmt::Write;

/// Findings in the b-trees of one database: as many as SQLite lists by itself.
const FINDINGS_MAX: usize = 100;

/// One thing that is wrong.
struct Finding {
    /// The database that it is in, where it is in one.
    database: Option<String>,
    what: String,
}

/// What was looked at, and what is wrong.
struct Checked {
    pages: u64,
    chunks: usize,
    databases: usize,
    /// Databases whose b-trees were walked.
    walked: usize,
    findings: Vec<Finding>,
    /// The store was closed before all was looked at.
    closed: bool,
}

/// Runs the command.
pub(super) fn run(call: &mut Call<'_>, deep: bool, only: Option<&str>) -> Result<u8, Failure> {
    let databases = match only {
        Some(name) => vec![call.manager.info(name)?],
        None => call.manager.databases(),
    };
    let mut checked = check_bytes(call.manager, &databases, only.is_some());
    if deep {
        check_trees(call.sql()?, call.manager, &databases, &mut checked);
    }
    if checked.closed && checked.findings.is_empty() {
        let message = "the store was closed before all was looked at";
        return Err(Failure::new(ErrorCode::Closed, message).with_hint("open it, and verify again"));
    }
    call.answer(checked.to_text(deep), checked.to_json())?;
    let is_healthy = checked.findings.is_empty();
    Ok(if is_healthy {
        0
    } else {
        ErrorCode::Unhealthy.exit_status()
    })
}

/// Every checksum. With `only_these`, what concerns other databases alone is left out.
fn check_bytes(manager: &Manager, databases: &[DatabaseInfo], only_these: bool) -> Checked {
    let report = manager.verify();
    let name_of = |place: &Place| match place {
        Place::Page { database, .. } => {
            let info = databases.iter().find(|info| info.id == *database);
            Some(info.map(|info| info.name.clone()))
        }
        _ => None,
    };
    let mut findings = Vec::new();
    for damage in &report.findings {
        let database = match name_of(&damage.place) {
            Some(None) if only_these => continue,
            Some(name) => name,
            None => None,
        };
        findings.push(Finding {
            database,
            what: damage.to_string(),
        });
    }
    // A database that is closed for damage counts, wherever the damage is.
    for info in databases {
        if let Some(damage) = &info.damage {
            findings.push(Finding {
                database: Some(info.name.clone()),
                what: format!("it cannot be opened: {damage}"),
            });
        }
    }
    Checked {
        pages: report.pages,
        chunks: report.chunks,
        databases: report.databases,
        walked: 0,
        findings,
        closed: report.closed,
    }
}

/// SQLite's own check of every b-tree.
fn check_trees(
    sql: &dyn SqlDoor,
    manager: &Manager,
    databases: &[DatabaseInfo],
    checked: &mut Checked,
) {
    let sound = |info: &&DatabaseInfo| info.kind == DbKind::Sqlite && info.damage.is_none();
    for info in databases.iter().filter(sound) {
        match check_tree(sql, manager, info) {
            Walk::Done(findings) => {
                checked.walked += 1;
                checked.findings.extend(findings);
            }
            Walk::Gone => {}
            Walk::Closed => {
                checked.closed = true;
                return;
            }
        }
    }
}

/// How it went with the b-trees of a database.
enum Walk {
    Done(Vec<Finding>),
    /// It was dropped meanwhile.
    Gone,
    /// The store was closed meanwhile, or is being closed.
    Closed,
}

/// What cannot be read, or reads like damage, is none where the database is gone meanwhile: SQLite only knows that it
/// did not get a page.
fn check_tree(sql: &dyn SqlDoor, manager: &Manager, info: &DatabaseInfo) -> Walk {
    let mut name = info.name.clone();
    loop {
        let problems = sql
            .integrity_check(&name, FINDINGS_MAX)
            .unwrap_or_else(|problem| vec![problem]);
        if problems.is_empty() {
            return Walk::Done(Vec::new());
        }
        let refused = manager.database(&name).map_err(|error| error.code());
        let refused = refused.and_then(|db| db.begin_read().map_err(|error| error.code()));
        if refused.is_err_and(|code| code == ErrorCode::Closed) {
            return Walk::Closed;
        }
        let mut now = manager.databases_from(info.id, 1).into_iter();
        match now.find(|now| now.id == info.id) {
            None => return Walk::Gone,
            Some(now) if now.name != name => name = now.name,
            Some(_) => {
                let finding = |what| Finding {
                    database: Some(name.clone()),
                    what,
                };
                return Walk::Done(problems.into_iter().map(finding).collect());
            }
        }
    }
}

impl Checked {
    fn to_json(&self) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|finding| json!({ "database": finding.database, "message": finding.what }))
            .collect();
        json!({
            "healthy": self.findings.is_empty(),
            "pages": self.pages,
            "chunks": self.chunks,
            "databases": self.databases,
            "integrity_checked": self.walked,
            "findings": findings,
        })
    }

    fn to_text(&self, deep: bool) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let database = finding.database.as_deref();
            let place = database.map_or(String::new(), |name| format!("database {name:?}: "));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{place}{}", finding.what);
        }
        let state = match self.findings.len() {
            0 => "healthy".to_owned(),
            1 => "unhealthy: 1 finding".to_owned(),
            many => format!("unhealthy: {many} findings"),
        };
        let _ = write!(
            text,
            "{state}; {} databases, {} pages and {} chunks checked",
            self.databases, self.pages, self.chunks
        );
        if deep {
            let _ = write!(text, ", {} integrity checks", self.walked);
        }
        text
    }
}
