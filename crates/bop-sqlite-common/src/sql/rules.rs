//! What the SQL of other processes may do: asked by SQLite while it compiles a statement.
//!
//! Invariant: a reader may do what is listed, and nothing else; whatever a later SQLite may add is refused until it
//! is listed, too.
//!
//! Never: knows the client. Who writes was decided when the session was opened.

use std::os::raw::c_int;

/// PRAGMAs that only tell, whatever they are given.
const TELLING: &[&str] = &[
    "bop_restore_points",
    "bop_status",
    "collation_list",
    "compile_options",
    "database_list",
    "foreign_key_check",
    "foreign_key_list",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "pragma_list",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// PRAGMAs that tell where they are given nothing, and set something where they are.
const TELLING_ALONE: &[&str] = &[
    "application_id",
    "auto_vacuum",
    "busy_timeout",
    "cache_size",
    "data_version",
    "encoding",
    "foreign_keys",
    "freelist_count",
    "journal_mode",
    "page_count",
    "page_size",
    "query_only",
    "recursive_triggers",
    "schema_version",
    "synchronous",
    "user_version",
];

/// What a statement is about to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action<'a> {
    /// Reads rows, or begins and ends transactions.
    Reads,
    /// Calls a function of this name.
    Function(&'a str),
    /// A PRAGMA, and what it is given.
    Pragma(&'a str, Option<&'a str>),
    /// Attaches a file of this name.
    Attach(&'a str),
    /// Declares a virtual table that a query names, `json_each` or `pragma_table_list`: older versions ask by the code
    /// of an update of the schema's table, and run nothing of it. A statement that says so itself they refuse, since
    /// nobody has the schema writable here.
    Declares,
    /// Changes rows or the schema.
    Changes,
    /// SQLite does not say, among others for a name that is only known when the statement runs.
    Unknown,
}

impl<'a> Action<'a> {
    /// Of an action code of SQLite's (<https://sqlite.org/c3ref/c_alter_table.html>) and its first two arguments.
    pub(super) fn of(code: c_int, first: Option<&'a str>, second: Option<&'a str>) -> Self {
        match (code, first, second) {
            // READ, SELECT, TRANSACTION, SAVEPOINT, RECURSIVE
            (20 | 21 | 22 | 32 | 33, _, _) => Self::Reads,
            (23, Some("sqlite_master"), _) => Self::Declares,
            (19, Some(name), value) => Self::Pragma(name, value),
            (24, Some(file), _) => Self::Attach(file),
            (31, _, Some(name)) => Self::Function(name),
            (19 | 24 | 31, _, _) => Self::Unknown,
            (1..=30, _, _) => Self::Changes,
            _ => Self::Unknown,
        }
    }
}

/// The rules of a session that only reads.
pub(super) fn lets_reader(action: Action<'_>) -> bool {
    match action {
        Action::Reads | Action::Declares => true,
        Action::Function(name) => is_harmless(name),
        Action::Pragma(name, value) => {
            let is_in = |names: &[&str]| {
                let mut names = names.iter();
                names.any(|known| known.eq_ignore_ascii_case(name))
            };
            is_in(TELLING) || value.is_none() && is_in(TELLING_ALONE)
        }
        Action::Attach(_) | Action::Changes | Action::Unknown => false,
    }
}

/// The rules of a session that writes: no file but the store's, no code, no schema by hand.
pub(super) fn lets_writer(action: Action<'_>) -> bool {
    match action {
        Action::Reads | Action::Declares | Action::Changes => true,
        // What VACUUM attaches has no name; a name without a slash is one of the store.
        Action::Attach(file) => !file.contains('/') && !starts_with_file(file),
        Action::Function(name) => is_harmless(name),
        Action::Pragma(name, _) => !name.eq_ignore_ascii_case("writable_schema"),
        Action::Unknown => false,
    }
}

fn starts_with_file(name: &str) -> bool {
    name.get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("file:"))
}

fn is_harmless(function: &str) -> bool {
    !function.eq_ignore_ascii_case("load_extension")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_may_do_what_is_listed_and_no_code_that_is_not_known() {
        let lets = |code, first, second| lets_reader(Action::of(code, first, second));
        assert!(lets(21, None, None) && lets(20, Some("t"), Some("x")));
        assert!(lets(31, None, Some("count")));
        assert!(!lets(31, None, Some("Load_Extension")) && !lets(31, None, None));
        assert!(lets(19, Some("Table_Info"), Some("t")));
        assert!(lets(19, Some("journal_mode"), None));
        assert!(!lets(19, Some("journal_mode"), Some("off")));
        assert!(!lets(19, Some("bop_snapshot"), Some("s")));
        for changes in (1..=18).chain([23, 24, 25, 26, 27, 28, 29, 30]) {
            assert!(!lets(changes, Some("x"), Some("y")), "{changes}");
        }
        assert!(lets(23, Some("sqlite_master"), Some("sql")));
        assert!(!lets(18, Some("sqlite_master"), None));
        for unknown in [-1, 0, 34, 1000] {
            assert!(!lets(unknown, None, None), "{unknown}");
        }
    }

    #[test]
    fn a_writer_may_do_all_but_reach_out_of_the_store() {
        let lets = |code, first, second| lets_writer(Action::of(code, first, second));
        assert!(lets(18, Some("t"), None) && lets(2, Some("t"), None));
        assert!(lets(24, Some(""), None) && lets(24, Some("other"), None));
        for file in ["/etc/passwd", "./x", "file:x", "FILE:x?vfs=unix"] {
            assert!(!lets(24, Some(file), None), "{file}");
        }
        assert!(!lets(24, None, None) && !lets(34, None, None));
        assert!(!lets(31, None, Some("load_extension")));
        assert!(!lets(19, Some("writable_schema"), Some("1")));
        assert!(lets(19, Some("user_version"), Some("1")));
    }
}
