//! A second process asks the one that has the store open through the extension.

use crate::run::{Place, python, script};
use bop_control::{Client, Failure, Feed, Request, SqlSpec, Terminal};
use bop_storage::error::ErrorCode;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A thread that was joined is in the list for a moment longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Python, which does what it is told.
struct Owner {
    place: Place,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Owner {
    /// `None`, loudly, where there is no Python that can load the extension.
    fn start(control: Option<&str>) -> Option<Self> {
        let place = Place::new();
        let mut command = Command::new(python()?);
        place.tell(&mut command).arg(script("asked.py"));
        match control {
            Some(says) => command.env("BOP_CONTROL", says),
            None => command.env_remove("BOP_CONTROL"),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Some(Self {
            place,
            child,
            input,
            output,
        })
    }

    /// Has it do something; answers what came of it.
    fn does(&mut self, expression: &str) -> String {
        writeln!(self.input, "{expression}").unwrap();
        self.output.next().expect("it has ended").unwrap()
    }

    fn client(&self) -> Option<Client> {
        Client::connect(&self.place.store()).unwrap()
    }

    /// Asks it; answers what is printed.
    fn ask(&self, request: &Request) -> Result<String, Failure> {
        let mut answer = Terminal::into(Vec::new());
        self.client().unwrap().run(request, true, &mut answer)?;
        Ok(String::from_utf8(answer.into_output()?).unwrap())
    }

    fn has_socket(&self) -> bool {
        self.place.store().join("control/control.sock").exists()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It is gone already, if the test came to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn create(name: &str) -> Request {
    Request::Create {
        database: name.to_owned(),
        raw: false,
    }
}

#[test]
fn a_second_process_asks_and_the_first_goes_on() {
    let Some(mut owner) = Owner::start(None) else {
        return;
    };
    assert_eq!(owner.does("begin()"), "open");
    assert!(owner.ask(&Request::List).unwrap().contains("\"orders\""));
    assert!(
        owner
            .ask(&Request::Status {
                every_ms: None,
                redraw: false
            })
            .unwrap()
            .contains("\"healthy\":true")
    );
    owner.ask(&create("more")).unwrap();
    let count = "one(connect('more'), 'SELECT count(*) FROM sqlite_schema')";
    assert_eq!(owner.does(count), "0");
    let snapshot = Request::Snapshot {
        database: "orders".to_owned(),
        name: "before".to_owned(),
        at: "now".parse().unwrap(),
    };
    owner.ask(&snapshot).unwrap();
    owner.does("connection.execute('INSERT INTO t VALUES (1)')");
    assert_eq!(
        owner.does("one(connect('orders@snapshot:before'), 'SELECT count(*) FROM t')"),
        "0"
    );
    owner.ask(&Request::Checkpoint).unwrap();
    assert_eq!(owner.does("one(connection, 'SELECT count(*) FROM t')"), "1");
    assert_eq!(owner.does("end()"), "closed");
}

#[test]
fn sql_is_not_offered_and_that_is_said() {
    let Some(mut owner) = Owner::start(Some("write")) else {
        return;
    };
    owner.does("begin()");
    let spec = SqlSpec {
        database: "orders".to_owned(),
        at: None,
        create: false,
        write: false,
    };
    let refused = owner.client().unwrap().sql(&spec).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotSupported);
    assert!(refused.message.contains("offers no SQL"), "{refused}");
    let deep = Request::Verify {
        deep: true,
        database: None,
    };
    assert_eq!(owner.ask(&deep).unwrap_err().code, ErrorCode::NotSupported);
    owner.does("end()");
}

#[test]
fn the_socket_and_its_threads_end_with_the_last_connection_and_come_back_with_the_next() {
    let Some(mut owner) = Owner::start(None) else {
        return;
    };
    for _ in 0..3 {
        owner.does("begin()");
        let follower = owner.client().unwrap();
        let feed = Feed {
            from: Some(1),
            cursor: None,
            follow: true,
        };
        let follower = std::thread::spawn(move || {
            let mut answer = Terminal::into(Vec::new());
            follower.run(&Request::Changes(feed), true, &mut answer)
        });
        assert!(owner.has_socket());
        assert_eq!(owner.does("end()"), "closed");
        assert!(!owner.has_socket() && owner.client().is_none());
        assert!(follower.join().unwrap().is_err());
        let until = Instant::now() + PATIENCE;
        while owner.does("control_threads()") != "0" {
            assert!(Instant::now() < until, "a thread stays");
        }
    }
}

#[test]
fn a_forked_child_neither_answers_nor_keeps_the_socket() {
    let Some(mut owner) = Owner::start(None) else {
        return;
    };
    owner.does("begin()");
    // It has what its parent talks with this client through, too.
    let idle = owner.client().unwrap();
    assert_eq!(owner.does("fork()"), "forked");
    assert!(owner.ask(&Request::List).unwrap().contains("\"orders\""));
    assert_eq!(owner.does("end()"), "closed");
    assert!(!owner.has_socket() && owner.client().is_none());
    let ended = idle.run(&Request::List, true, &mut Terminal::into(Vec::new()));
    assert_eq!(ended.unwrap_err().code, ErrorCode::Control);
    assert_eq!(owner.does("let_go()"), "gone");
    owner.does("begin()");
    // A child that ends takes nothing away.
    owner.does("fork()");
    owner.does("let_go()");
    assert!(owner.ask(&Request::List).unwrap().contains("\"orders\""));
    owner.does("end()");
}

#[test]
fn the_environment_says_whether_others_may_ask() {
    let Some(mut owner) = Owner::start(Some("off")) else {
        return;
    };
    owner.does("begin()");
    assert!(!owner.has_socket() && owner.client().is_none());
    owner.does("end()");
    let Some(mut owner) = Owner::start(Some("sometimes")) else {
        return;
    };
    let why = owner.does("why_not()");
    assert!(
        why.contains("BOP_CONTROL") && why.contains("sometimes"),
        "{why}"
    );
}
