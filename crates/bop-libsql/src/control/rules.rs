//! What the SQL of other processes may do: asked by SQLite while it compiles a statement.
//!
//! Invariant: a reader may do what is listed, and nothing else; whatever a later SQLite may add is refused until it
//! is listed, too.
//!
//! Never: knows the client. Who writes was decided when the session was opened.

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// PRAGMAs that only tell, whatever they are given.
const TELLING: &[&str] = &[
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

/// The rules of a session that only reads.
pub(super) fn of_reader(context: AuthContext<'_>) -> Authorization {
    let may = match context.action {
        AuthAction::Select
        | AuthAction::Read { .. }
        | AuthAction::Recursive
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. } => true,
        AuthAction::Function { function_name } => is_harmless(function_name),
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => {
            let is_in = |names: &[&str]| {
                let mut names = names.iter();
                names.any(|name| name.eq_ignore_ascii_case(pragma_name))
            };
            is_in(TELLING) || pragma_value.is_none() && is_in(TELLING_ALONE)
        }
        _ => false,
    };
    answer(may)
}

/// The rules of a session that writes: no file but the store's, no code, no schema by hand.
pub(super) fn of_writer(context: AuthContext<'_>) -> Authorization {
    let may = match context.action {
        AuthAction::Attach { filename } => {
            // What VACUUM attaches has no name; a name without a slash is one of the store.
            !filename.contains('/') && !starts_with_file(filename)
        }
        AuthAction::Function { function_name } => is_harmless(function_name),
        AuthAction::Pragma { pragma_name, .. } => {
            !pragma_name.eq_ignore_ascii_case("writable_schema")
        }
        // A name that is only known when the statement runs, among others.
        AuthAction::Unknown { .. } => false,
        _ => true,
    };
    answer(may)
}

fn starts_with_file(name: &str) -> bool {
    name.get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("file:"))
}

fn is_harmless(function: &str) -> bool {
    !function.eq_ignore_ascii_case("load_extension")
}

fn answer(may: bool) -> Authorization {
    match may {
        true => Authorization::Allow,
        false => Authorization::Deny,
    }
}
