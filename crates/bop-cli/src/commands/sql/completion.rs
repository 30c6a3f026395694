//! What the prompt knows while a line is typed: whether more has to come, and how a word may go on.
//!
//! Never: writes to the database; names are looked up in the schema as it is now.

use super::prompt::is_quit;
use crate::sql::dot;
use crate::sql::input::Splitter;
use rusqlite::Connection;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

/// Completions shown at once.
const SHOWN_MAX: usize = 200;

/// Keywords that people type; the rest of SQLite's is too rare to be in the way.
const KEYWORDS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "ATTACH",
    "BEGIN",
    "BETWEEN",
    "BY",
    "CASE",
    "CHECK",
    "COLLATE",
    "COLUMN",
    "COMMIT",
    "CONFLICT",
    "CREATE",
    "CROSS",
    "DATABASE",
    "DEFAULT",
    "DELETE",
    "DESC",
    "DETACH",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FOREIGN",
    "FROM",
    "GROUP",
    "HAVING",
    "IGNORE",
    "IMMEDIATE",
    "INDEX",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTO",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NATURAL",
    "NULL",
    "OFFSET",
    "ORDER",
    "OUTER",
    "PARTITION",
    "PLAN",
    "PRAGMA",
    "PRIMARY",
    "QUERY",
    "RECURSIVE",
    "REFERENCES",
    "REINDEX",
    "RELEASE",
    "RENAME",
    "REPLACE",
    "RETURNING",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "TABLE",
    "TEMPORARY",
    "THEN",
    "TRANSACTION",
    "TRIGGER",
    "UNION",
    "UNIQUE",
    "UPDATE",
    "USING",
    "VACUUM",
    "VALUES",
    "VIEW",
    "VIRTUAL",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "WITHOUT",
];

/// Tables, views, columns and functions that begin with `?1`.
const NAMES: &str = "SELECT name FROM pragma_table_list WHERE name LIKE ?1 ESCAPE '\\' \
    UNION SELECT c.name FROM pragma_table_list t, pragma_table_info(t.name, t.schema) c \
        WHERE t.type <> 'shadow' AND c.name LIKE ?1 ESCAPE '\\' \
    UNION SELECT name FROM pragma_function_list WHERE name LIKE ?1 ESCAPE '\\' \
    ORDER BY 1 LIMIT ?2";

/// What helps the line editor.
pub(super) struct Shell<'a> {
    connection: Option<&'a Connection>,
}

impl<'a> Shell<'a> {
    pub(super) fn new(connection: Option<&'a Connection>) -> Self {
        Self { connection }
    }

    /// What begins with `word` in the schema; nothing where that cannot be read.
    fn names(&self, word: &str) -> Vec<String> {
        let escaped = word.replace('\\', "\\\\").replace('%', "\\%");
        let pattern = escaped.replace('_', "\\_") + "%";
        let Some(connection) = self.connection else {
            return Vec::new();
        };
        let names = || {
            let mut statement = connection.prepare_cached(NAMES)?;
            let names = statement.query_map((pattern, SHOWN_MAX as i64), |row| row.get(0))?;
            names.collect::<rusqlite::Result<Vec<String>>>()
        };
        names().unwrap_or_default()
    }
}

/// Where the word before the cursor begins.
fn word_start(line: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let before = line.trim_end_matches(is_word);
    match before.strip_suffix('.') {
        // A command of the shell.
        Some(rest) if rest.is_empty() || rest.ends_with('\n') => rest.len(),
        _ => before.len(),
    }
}

/// The keywords that begin with `word`, in its case.
fn keywords(word: &str) -> impl Iterator<Item = String> {
    let is_lower = word.chars().any(char::is_lowercase);
    let begins = |keyword: &&&str| {
        let start = keyword.get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    KEYWORDS
        .iter()
        .filter(begins)
        .map(move |keyword| match is_lower {
            true => keyword.to_ascii_lowercase(),
            false => (*keyword).to_owned(),
        })
}

impl Completer for Shell<'_> {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = line.get(..pos).unwrap_or(line);
        let start = word_start(before);
        let word = &before[start..];
        let found = if word.starts_with('.') {
            let commands = dot::names().filter(|name| name.starts_with(word));
            commands.map(str::to_owned).collect()
        } else if word.is_empty() {
            Vec::new()
        } else {
            let mut found: Vec<String> = keywords(word).collect();
            found.extend(self.names(word));
            found
        };
        Ok((start, found))
    }
}

impl Validator for Shell<'_> {
    fn validate(&self, typed: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let mut splitter = Splitter::new();
        splitter.push(typed.input().as_bytes());
        splitter.push(b"\n");
        while splitter.next_statement().is_some() {}
        // What is typed to leave has no semicolon.
        let is_over = !splitter.continues() || is_quit(typed.input());
        Ok(match is_over {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Hinter for Shell<'_> {
    type Hint = String;
}
impl Highlighter for Shell<'_> {}
impl Helper for Shell<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use rustyline::history::MemHistory;

    fn completed(shell: &Shell<'_>, line: &str) -> (usize, Vec<String>) {
        let history = MemHistory::new();
        shell
            .complete(line, line.len(), &Context::new(&history))
            .unwrap()
    }

    #[test]
    fn keywords_tables_columns_and_commands_are_completed() {
        let connection = Connection::open_in_memory().unwrap();
        let made =
            "create table orders(id, order_date, \"o%\"); create view ordered as select 1 as one";
        connection.execute_batch(made).unwrap();
        let shell = Shell::new(Some(&connection));
        let names = |line: &str| completed(&shell, line);
        assert_eq!(names("sel"), (0, vec!["select".to_owned()]));
        assert_eq!(names("SELECT * FR"), (9, vec!["FROM".to_owned()]));
        let orders = ["order", "order_date", "ordered", "orders"].map(str::to_owned);
        assert_eq!(names("select * from order"), (14, orders.to_vec()));
        assert_eq!(names("select o%"), (9, Vec::new()));
        assert_eq!(
            names("select orders.order_d"),
            (14, vec!["order_date".to_owned()])
        );
        assert_eq!(names(".sn"), (0, vec![".snapshot".to_owned()]));
        assert_eq!(names("select 1; "), (10, Vec::new()));
    }
}
