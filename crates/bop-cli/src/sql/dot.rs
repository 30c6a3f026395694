//! Commands of the shell: lines that begin with a dot, as those of `sqlite3` do, as far as people use them.
//!
//! Never: runs anything; that is [`super::shell`].

use bop_control::Mode;
use std::path::PathBuf;

/// What there is, for `.help`: how it is written, and what it does.
const COMMANDS: &[(&str, &str)] = &[
    (
        ".dump [TABLE]",
        "the SQL that makes the database, or one table, anew",
    ),
    (
        ".fork NEW",
        "make a database that begins as this one is, without a copy",
    ),
    (".headers on|off", "names of columns in modes list and csv"),
    (".help", "this list"),
    (
        ".import FILE TABLE",
        "rows of a CSV file; makes the table, with the first row as names, if there is none",
    ),
    (".mode list|csv|json|table", "how rows are written"),
    (".quit", "leave"),
    (".read FILE", "run the SQL in a file"),
    (".schema [TABLE]", "the SQL of what there is"),
    (".snapshot NAME", "name what the database is now"),
    (
        ".tables [PATTERN]",
        "names of tables and views; a pattern as for LIKE",
    ),
    (".timer on|off", "how long each statement takes"),
];

/// A command, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Dot {
    Dump(Option<String>),
    Fork(String),
    Headers(bool),
    Help,
    Import { file: PathBuf, table: String },
    Mode(Mode),
    Quit,
    Read(PathBuf),
    Schema(Option<String>),
    Snapshot(String),
    Tables(Option<String>),
    Timer(bool),
}

impl Dot {
    /// Understands a line.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let mut words = words(line)?.into_iter();
        let name = words.next().unwrap_or_default();
        let (first, second) = (words.next(), words.next());
        if words.next().is_some() {
            return Err(format!("{name}: too many words; {}", usage(&name)));
        }
        let wanted = || format!("{name} wants more; {}", usage(&name));
        let parsed = match (name.as_str(), first, second) {
            (".dump", table, None) => Self::Dump(table),
            (".fork", Some(new), None) => Self::Fork(new),
            (".headers" | ".header", Some(word), None) => Self::Headers(switch(&name, &word)?),
            (".help", None, None) => Self::Help,
            (".import", Some(file), Some(table)) => Self::Import {
                file: file.into(),
                table,
            },
            (".mode", Some(mode), None) => Self::Mode(
                Mode::named(&mode).ok_or_else(|| format!("no mode {mode:?}; {}", usage(&name)))?,
            ),
            (".quit" | ".exit", None, None) => Self::Quit,
            (".read", Some(file), None) => Self::Read(file.into()),
            (".schema", table, None) => Self::Schema(table),
            (".snapshot", Some(name), None) => Self::Snapshot(name),
            (".tables", pattern, None) => Self::Tables(pattern),
            (".timer", Some(word), None) => Self::Timer(switch(&name, &word)?),
            (known, first, _) if is_known(known) => {
                return Err(match first {
                    Some(_) => format!("{name}: too many words; {}", usage(&name)),
                    None => wanted(),
                });
            }
            _ => return Err(format!("no command {name}; .help shows those there are")),
        };
        Ok(parsed)
    }
}

/// All commands, a line each.
pub(crate) fn help() -> String {
    let line = |(written, does): &(&str, &str)| format!("{written:<28} {does}\n");
    COMMANDS.iter().map(line).collect()
}

/// The names of all commands.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS
        .iter()
        .filter_map(|(written, _)| written.split(' ').next())
}

fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

fn usage(name: &str) -> String {
    let name = match name {
        ".header" => ".headers",
        ".exit" => ".quit",
        name => name,
    };
    let found = COMMANDS
        .iter()
        .find(|(written, _)| written.split(' ').next() == Some(name));
    match found {
        Some((written, _)) => format!("it is {written}"),
        None => ".help shows the commands".to_owned(),
    }
}

fn switch(name: &str, word: &str) -> Result<bool, String> {
    match word {
        "on" | "1" | "yes" => Ok(true),
        "off" | "0" | "no" => Ok(false),
        _ => Err(format!("{name} takes on or off, not {word:?}")),
    }
}

/// The words of a line: what stands between blanks, or in single or double quotes.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let (word, behind) = match first {
            '\'' | '"' => {
                let quoted = rest[1..].split_once(first);
                quoted.ok_or_else(|| format!("a quote is not closed: {rest}"))?
            }
            _ => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood() {
        let parsed = |line| Dot::parse(line).unwrap();
        assert_eq!(parsed(".tables"), Dot::Tables(None));
        assert_eq!(parsed(".tables 'a b%'  "), Dot::Tables(Some("a b%".into())));
        assert_eq!(parsed(".mode JSON"), Dot::Mode(Mode::Json));
        assert_eq!(parsed(".header on"), Dot::Headers(true));
        assert_eq!(parsed(".exit"), Dot::Quit);
        let file = "my rows.csv".into();
        let table = "t".to_owned();
        assert_eq!(
            parsed(".import \"my rows.csv\" t"),
            Dot::Import { file, table }
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |line| Dot::parse(line).unwrap_err();
        assert_eq!(
            said(".table"),
            "no command .table; .help shows those there are"
        );
        assert_eq!(said(".read"), ".read wants more; it is .read FILE");
        assert_eq!(said(".quit now"), ".quit: too many words; it is .quit");
        assert_eq!(
            said(".timer maybe"),
            ".timer takes on or off, not \"maybe\""
        );
        assert_eq!(
            said(".mode x"),
            "no mode \"x\"; it is .mode list|csv|json|table"
        );
        assert_eq!(said(".read 'a"), "a quote is not closed: 'a");
        assert_eq!(
            said(".import a b c"),
            ".import: too many words; it is .import FILE TABLE"
        );
    }

    #[test]
    fn each_command_of_the_list_is_one() {
        for name in names() {
            let refused = Dot::parse(name).err();
            assert!(
                refused.is_none_or(|said| said.contains("wants more")),
                "{name}"
            );
        }
    }
}
