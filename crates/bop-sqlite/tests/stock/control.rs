//! A second process asks the one that has the store open through the extension.

use crate::owner::Owner;
use bop_control::{Feed, Request, Terminal};
use bop_storage::error::ErrorCode;

fn create(name: &str) -> Request {
    Request::Create {
        database: name.to_owned(),
        raw: false,
    }
}

#[test]
fn a_second_process_asks_and_the_first_goes_on() {
    let Some(mut owner) = Owner::start(&[]) else {
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
fn the_socket_and_its_threads_end_with_the_last_connection_and_come_back_with_the_next() {
    let Some(mut owner) = Owner::start(&[]) else {
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
        owner.serves(0);
    }
}

#[test]
fn a_forked_child_neither_answers_nor_keeps_the_socket() {
    let Some(mut owner) = Owner::start(&[]) else {
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
    let Some(mut owner) = Owner::start(&[("BOP_CONTROL", "off")]) else {
        return;
    };
    owner.does("begin()");
    assert!(!owner.has_socket() && owner.client().is_none());
    owner.does("end()");
    for (variable, value, words) in [
        ("BOP_CONTROL", "sometimes", "sometimes"),
        ("BOP_SQL_DEADLINE_SECONDS", "0", "zero"),
    ] {
        let Some(mut owner) = Owner::start(&[(variable, value)]) else {
            return;
        };
        let why = owner.does("why_not()");
        assert!(why.contains(variable) && why.contains(words), "{why}");
    }
}
