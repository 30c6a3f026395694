//! The commands of a document for operators, and what it says that they print.
//!
//! A block of commands stands in a fence that is called `console`, below a comment that readers do not see:
//!
//! ```text
//! <!-- stage: NAME -->      the situation it is about: see `stages`; `same` goes on where the last block ended,
//!                           `then-stopped` when the application was stopped, `then-started` when it runs again
//! $ bop list                a command; behind `# exit status N` stands the status, where it is not 0
//! orders ...                what it prints, if that is shown: `...` is any text, on a line of its own any lines
//! ```
//! Invariant: a number stands for any number, and a space for any space, so that a document shows what people see.
//!
//! Never: runs anything.

/// Where the documents are.
pub(super) fn text_of(name: &str) -> String {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/");
    let path = format!("{docs}{name}");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A fence with commands.
#[derive(Debug)]
pub(super) struct Block {
    /// Its line in the document.
    pub(super) line: usize,
    /// The situation.
    pub(super) stage: String,
    pub(super) commands: Vec<Command>,
}

/// A command, and what is said of it.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) status: i32,
    pub(super) shown: Vec<String>,
}

/// The blocks of a document.
///
/// # Panics
/// At a block without a stage, of no command, or that does not end, at a stage without a block, and at a command where
/// nobody runs it.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut stage: Option<(usize, String)> = None;
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if let Some(named) = line.strip_prefix("<!-- stage: ") {
            let named = named.strip_suffix(" -->").unwrap_or_else(|| {
                panic!("line {number}: a stage is written <!-- stage: NAME -->");
            });
            let before = stage.replace((number, named.to_owned()));
            assert!(
                before.is_none(),
                "line {number}: the stage before has no block"
            );
        } else if line == "```console" {
            let inside: Vec<(&str, usize)> = lines
                .by_ref()
                .take_while(|(line, _)| *line != "```")
                .collect();
            let (_, stage) = stage.take().unwrap_or_else(|| {
                panic!("line {number}: no stage is named for these commands");
            });
            let commands = commands(&inside);
            assert!(
                !commands.is_empty(),
                "line {number}: a block without a command"
            );
            blocks.push(Block {
                line: number,
                stage,
                commands,
            });
        } else if let Some(fence) = line.strip_prefix("```") {
            let is_known = ["text", "yaml", "rust"].contains(&fence);
            let mut inside = lines.by_ref().take_while(|(line, _)| *line != "```");
            assert!(
                is_known && inside.all(|(line, _)| !line.starts_with("$ ")),
                "line {number}: commands stand in a fence that is called console"
            );
        }
    }
    assert!(stage.is_none(), "{stage:?} has no block");
    blocks
}

fn commands(lines: &[(&str, usize)]) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for (line, number) in lines {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => {
                let (text, status) = match command.split_once("# exit status ") {
                    Some((text, status)) => (text.trim_end(), status.trim().parse().unwrap()),
                    None => (command, 0),
                };
                commands.push(Command {
                    line: *number,
                    text: text.to_owned(),
                    status,
                    shown: Vec::new(),
                });
            }
            (None, Some(last)) => last.shown.push((*line).to_owned()),
            (None, None) => panic!("line {number}: what is printed stands behind a command"),
        }
    }
    commands
}

/// Whether what was printed is what the document shows; what it shows nothing of is right.
pub(super) fn is_shown(shown: &[String], printed: &str) -> bool {
    let shown: Vec<String> = shown.iter().map(|line| plain(line)).collect();
    let printed: Vec<String> = printed.lines().map(plain).collect();
    shown.is_empty() || lines_match(&shown, &printed)
}

fn lines_match(shown: &[String], printed: &[String]) -> bool {
    match (shown, printed) {
        ([], []) => true,
        ([any, rest @ ..], _) if any == "..." => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        ([line, rest @ ..], [found, others @ ..]) => {
            line_matches(line, found) && lines_match(rest, others)
        }
        _ => false,
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    match shown.split_once("...") {
        None => shown == printed,
        Some((before, behind)) => printed.strip_prefix(before).is_some_and(|rest| {
            let starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            starts
                .into_iter()
                .any(|at| line_matches(behind, &rest[at..]))
        }),
    }
}

/// A line with a zero for each number and one space for all.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut before = ' ';
    for each in line.trim_end().chars() {
        let each = match each {
            digit if digit.is_ascii_digit() => '0',
            space if space.is_whitespace() => ' ',
            other => other,
        };
        let repeats = each == before && (each == '0' || each == ' ');
        if !repeats {
            plain.push(each);
        }
        before = each;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "\
# Title
<!-- stage: healthy -->
```console
$ bop list
| orders | 2026-11-28 |
$ bop status      # exit status 3
```
";

    #[test]
    fn a_block_has_its_commands_what_they_print_and_how_they_end() {
        let blocks = blocks(DOCUMENT);
        assert_eq!((blocks.len(), blocks[0].line), (1, 3));
        assert_eq!(blocks[0].stage, "healthy");
        let [list, status] = &blocks[0].commands[..] else {
            panic!("{blocks:?}");
        };
        assert_eq!((list.text.as_str(), list.status), ("bop list", 0));
        assert_eq!(list.shown, ["| orders | 2026-11-28 |"]);
        assert_eq!((status.text.as_str(), status.status), ("bop status", 3));
    }

    #[test]
    #[should_panic(expected = "line 2: no stage is named")]
    fn a_block_without_a_stage_is_refused() {
        blocks("# Title\n```console\n$ bop list\n```\n");
    }

    #[test]
    #[should_panic(expected = "line 2: commands stand in a fence")]
    fn a_command_that_nobody_runs_is_refused() {
        blocks("# Title\n```text\nx = y\n$ bop list\n```\n");
    }

    #[test]
    fn numbers_and_what_is_left_out_may_be_anything_and_nothing_else_may() {
        let shows = |shown: &[&str], printed: &str| {
            let shown: Vec<String> = shown.iter().map(|line| (*line).to_owned()).collect();
            is_shown(&shown, printed)
        };
        assert!(shows(&[], "anything"));
        assert!(shows(&["log   4096 bytes"], "log  81920 bytes\n"));
        assert!(shows(
            &["at 2026-11-28T00:01:02Z"],
            "at 1999-01-31T23:59:60Z"
        ));
        assert!(shows(&["first", "...", "last"], "first\nx\ny\nlast\n"));
        assert!(shows(&["first", "..."], "first\n"));
        assert!(shows(&["a ... c"], "a b b c") && !shows(&["a ... c"], "a b b d"));
        assert!(!shows(&["healthy"], "healthy\nand more") && !shows(&["healthy", "x"], "healthy"));
        assert!(!shows(&["log 1 bytes"], "log - bytes"));
    }
}
