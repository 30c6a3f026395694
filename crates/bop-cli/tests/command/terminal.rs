//! What `bop` asks and shows at a terminal: the prompt of `sql`, the question of `drop`, how far a backup is, what is
//! watched. Whoever has the store open, it looks the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::control::Owner;
use crate::store::Store;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::Child;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
const CTRL_D: &str = "\u{4}";

/// `bop` at a pseudo-terminal, and who sits in front of it.
struct Terminal {
    child: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    /// What was shown and not waited for yet.
    unread: String,
}

impl Terminal {
    fn run(store: &Store, arguments: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keys = openpt(flags).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap();
        let screen = || {
            let name = OsStr::from_bytes(name.to_bytes());
            File::options().read(true).write(true).open(name).unwrap()
        };
        let child = store
            .command(arguments)
            .env("TERM", "xterm")
            .env("BOP_HISTORY", store.path().join("history"))
            .stdin(screen())
            .stdout(screen())
            .stderr(screen())
            .spawn()
            .unwrap();
        let keys = File::from(keys);
        let mut screen = keys.try_clone().unwrap();
        let (send, shown) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            // Reading fails when nobody has the other side open any more.
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                if send.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            keys,
            shown,
            unread: String::new(),
        }
    }

    fn types(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown, and forgets everything up to it; what was shown before it.
    #[track_caller]
    fn shows(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.unread.find(text) {
                let mut before: String = self.unread.drain(..at + text.len()).collect();
                before.truncate(at);
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(more) => self.unread.push_str(&String::from_utf8_lossy(&more)),
                Err(_) => panic!("{text:?} is not shown; after it: {:?}", self.unread),
            }
        }
    }

    /// Waits for the end; the exit status.
    fn ends(mut self) -> Option<i32> {
        // Whatever is still shown has to go somewhere.
        while self.shown.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap().code()
    }

    /// Ends it.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn the_prompt_takes_statements_of_many_lines_and_goes_on_after_an_error() {
    let store = Store::new();
    let mut terminal = Terminal::run(&store, &["sql", "d"]);
    terminal.shows("bop> ");
    terminal.types("create table t(a);\r");
    terminal.shows("bop> ");
    // Enter goes to the next line as long as the statement is open, and all of it can be edited.
    terminal.types("select 40\r+ 2;\r");
    terminal.shows("42");
    terminal.shows("bop> ");
    terminal.types("select nope; select 'forgotten ' || 'too';\r");
    terminal.shows("error: no such column: nope");
    terminal.shows("hint: ");
    terminal.shows("bop> ");
    terminal.types("insert into t values(6 * 7) returning 'after' || a;\r");
    let before = terminal.shows("after42");
    assert!(!before.contains("forgotten too"), "{before:?}");
    terminal.shows("bop> ");
    terminal.types(CTRL_D);
    assert_eq!(terminal.ends(), Some(0));
    assert_eq!(store.ok(&["sql", "d", "select a from t"]), "42\n");
}

#[test]
fn the_prompt_completes_words_and_remembers_what_was_typed() {
    const UP: &str = "\u{1b}[A";
    let store = Store::new();
    store.ok(&[
        "sql",
        "d",
        "create table customers(surname); insert into customers values ('Ng')",
    ]);
    let mut terminal = Terminal::run(&store, &["sql", "d"]);
    terminal.shows("bop> ");
    terminal.types("selec\t surn\t from custo\t;\r");
    terminal.shows("Ng");
    terminal.shows("bop> ");
    terminal.types(".tables\r");
    terminal.shows("customers\r\n");
    terminal.types(".quit\r");
    assert_eq!(terminal.ends(), Some(0));
    let mut terminal = Terminal::run(&store, &["sql", "d"]);
    terminal.shows("bop> ");
    // Past .quit and .tables, to the statement.
    terminal.types(&format!("{UP}{UP}{UP}\r"));
    terminal.shows("Ng");
    terminal.shows("bop> ");
    terminal.types("exit\r");
    assert_eq!(terminal.ends(), Some(0));
    let history = std::fs::read_to_string(store.path().join("history")).unwrap();
    assert!(
        history.contains("select surname from customers;"),
        "{history}"
    );
}

#[test]
fn what_was_typed_is_kept_although_the_prompt_is_killed() {
    let store = Store::new();
    let mut terminal = Terminal::run(&store, &["sql", "d"]);
    terminal.shows("bop> ");
    terminal.types("select 40 + 2;\r");
    terminal.shows("42");
    terminal.kill();
    let history = std::fs::read_to_string(store.path().join("history")).unwrap();
    assert!(history.contains("select 40 + 2;"), "{history}");
}

#[test]
fn an_import_that_cannot_be_committed_leaves_no_transaction() {
    let store = Store::new();
    let made = "create table p(id primary key); create table c(p references p deferrable initially deferred)";
    store.ok(&["sql", "d", made]);
    std::fs::write(store.path().join("rows.csv"), "1\n2\n").unwrap();
    let mut terminal = Terminal::run(&store, &["sql", "d", "--mode", "list"]);
    terminal.shows("bop> ");
    terminal.types("pragma foreign_keys = on;\r");
    terminal.shows("bop> ");
    terminal.types(".import rows.csv c\r");
    terminal.shows("rows.csv: FOREIGN KEY constraint failed");
    terminal.shows("bop> ");
    terminal.types("begin; select 'rows: ' || count(*) from c; commit;\r");
    terminal.shows("rows: 0");
    terminal.shows("bop> ");
    terminal.types(CTRL_D);
    assert_eq!(terminal.ends(), Some(0));
}

/// Does something twice: with a store that nobody has open, and with one that another process has.
fn here_and_there(act: impl Fn(&Store)) {
    let store = Store::new();
    store.ok(&["sql", "d", "create table t(x); insert into t values (1)"]);
    act(&store);
    let owner = Owner::of(&store, &[]);
    act(&store);
    owner.end();
}

#[test]
fn drop_does_what_it_is_answered() {
    here_and_there(|store| {
        store.ok(&["create", "e"]);
        for (answer, exit) in [("n", 2), ("", 2), ("y", 0)] {
            store.ok(&["info", "e"]);
            let mut terminal = Terminal::run(store, &["drop", "e"]);
            terminal.shows("Drop database \"e\"");
            terminal.shows("[y/N] ");
            terminal.types(&format!("{answer}\n"));
            terminal.shows(if exit == 0 {
                "dropped e"
            } else {
                "not dropped"
            });
            assert_eq!(terminal.ends(), Some(exit), "{answer:?}");
        }
        store.fails(1, &["info", "e"]);
    });
}

/// Somebody else may give its name to another one while the question stands.
#[test]
fn drop_does_not_take_a_database_that_it_did_not_ask_about() {
    let store = Store::new();
    store.ok(&["create", "d"]);
    store.ok(&["create", "e"]);
    let owner = Owner::of(&store, &[]);
    let mut terminal = Terminal::run(&store, &["drop", "e"]);
    terminal.shows("[y/N] ");
    store.ok(&["rename", "e", "old"]);
    store.ok(&["create", "e"]);
    terminal.types("y\n");
    terminal.shows("not dropped: another database is called \"e\" by now");
    assert_eq!(terminal.ends(), Some(1));
    store.ok(&["info", "e"]);
    store.ok(&["info", "old"]);
    owner.end();
}

#[test]
fn who_waits_for_a_backup_an_export_or_an_import_sees_how_far_it_is() {
    here_and_there(|store| {
        for (command, counted, done) in [
            (&["backup", "kept"][..], "iB/", "backup "),
            (
                &["export", "d", "d.sqlite", "--force"],
                " pages",
                "exported 2 pages",
            ),
            (&["import", "e", "d.sqlite"], " pages", "imported 2 pages"),
        ] {
            let mut terminal = Terminal::run(store, command);
            // The bar has its name first, and counts behind it.
            terminal.shows(&format!("{} ", command[0]));
            terminal.shows(counted);
            terminal.shows(done);
            assert_eq!(terminal.ends(), Some(0), "{command:?}");
        }
        // Who keeps the answer gets nothing but the answer.
        let json = store.json(&["backup", "kept"]);
        assert!(json["backup"].is_u64(), "{json}");
        store.ok(&["drop", "e", "--yes"]);
    });
}

#[test]
fn a_status_that_is_watched_is_drawn_in_its_place() {
    const CLEARED: &str = "\x1b[H\x1b[2J";
    here_and_there(|store| {
        let mut terminal = Terminal::run(store, &["status", "--watch", "--every", "100ms"]);
        assert_eq!(terminal.shows(CLEARED), "");
        for _ in 0..3 {
            let screen = terminal.shows(CLEARED);
            let (first, last) = (screen.find("health        ok"), screen.find("chunks "));
            assert_eq!((first, last.is_some()), (Some(0), true), "{screen:?}");
            assert!(!screen.contains('\x1b'), "{screen:?}");
        }
        terminal.kill();
        // Where it is kept, one look follows the other.
        assert!(!store.ok(&["status"]).contains('\x1b'));
    });
}
