//! The page in a real browser, while the store is at work.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::browser::{self, Browser};
use crate::rig::{LONG, Rig, commit, raw};
use crate::{figures, looks};
use bop_storage::{BackupOptions, Db, Manager};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};

/// Of more databases than the page has rows for.
const DATABASES: u32 = 250;

/// A name that would do something, were it markup.
const HOSTILE: &str = "<img src=x onerror=alert(1)>&amp;\"'`";

fn now() -> bop_storage::At {
    "now".parse().unwrap()
}

fn tenant(number: u32) -> String {
    format!("tenant {number:03}")
}

fn database(store: &Manager, number: u32) -> Db {
    store.database(&tenant(number)).unwrap()
}

fn populate(store: &Manager) -> Db {
    for number in 0..DATABASES {
        raw(store, &tenant(number));
    }
    let orders = raw(store, "orders");
    store
        .fork_database("orders", "orders, tried", &now())
        .unwrap();
    store
        .fork_database("orders, tried", "orders, tried again", &now())
        .unwrap();
    store.fork_database("orders", HOSTILE, &now()).unwrap();
    store.snapshot_database("orders", "before", &now()).unwrap();
    store.checkpoint().unwrap();
    orders
}

/// Commits to each for as long as `work` takes.
fn beside_commits(databases: &[Db], work: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for db in databases {
            scope.spawn(|| {
                let mut byte = 0_u8;
                while !is_over.load(Ordering::Acquire) {
                    byte = byte.wrapping_add(1);
                    commit(db, byte);
                }
            });
        }
        // The thread ends, also where the work panics.
        let _over = Over(&is_over);
        work();
    });
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn open(browser: &mut Browser, rig: &Rig) {
    browser.go_to(&format!("http://{}/", rig.exporter.local_addr()));
    browser.wait_for("document.body.dataset.state === 'live' && document.body.dataset.lists >= 1");
}

/// Names of the rows, in their order, each behind its level.
fn rows(browser: &mut Browser) -> Vec<String> {
    let rows = browser.value(
        "[...document.querySelectorAll('[role=treeitem]')].map((row) => \
         row.getAttribute('aria-level') + ' ' + row.querySelector('bdi').textContent)",
    );
    serde_json::from_value(rows).unwrap()
}

fn check_tree(browser: &mut Browser) {
    assert_eq!(rows(browser).len(), 200);
    assert_eq!(
        browser.value("document.getElementById('more').textContent.includes('and 54 others')"),
        true
    );
    let search = |browser: &mut Browser, words: &str| {
        let words = serde_json::to_string(words).unwrap();
        browser.value(&format!(
            "(() => {{ const field = document.getElementById('search'); field.value = {words}; \
             field.dispatchEvent(new Event('input')); }})()"
        ));
    };
    // A fork is found with its origins, and by its name as it is.
    search(browser, "tried again");
    assert_eq!(
        rows(browser),
        ["1 orders", "2 orders, tried", "3 orders, tried again"]
    );
    search(browser, "onerror");
    assert_eq!(
        rows(browser),
        ["1 orders".to_owned(), format!("2 {HOSTILE}")]
    );
    assert_eq!(browser.value("document.querySelectorAll('img').length"), 0);
    search(browser, "orders");
    search(browser, "");
    // By keyboard: into the tree, to the row with forks, and closed, and open again.
    browser.value("document.querySelector('[role=treeitem][tabindex=\"0\"]').focus()");
    let current = "document.activeElement.querySelector('bdi').textContent";
    browser.press(&["Home"]);
    assert_ne!(browser.value(current), "orders, tried");
    let at = rows(browser)
        .iter()
        .position(|row| row == "1 orders")
        .unwrap();
    browser.press(&vec!["ArrowDown"; at]);
    assert_eq!(browser.value(current), "orders");
    browser.press(&["ArrowLeft"]);
    assert_eq!(
        browser.value("document.activeElement.getAttribute('aria-expanded')"),
        "false"
    );
    assert!(!rows(browser).contains(&"2 orders, tried".to_owned()));
    browser.press(&["ArrowRight", "ArrowRight"]);
    assert_ne!(browser.value(current), "orders");
    browser.press(&["ArrowLeft"]);
    assert_eq!(browser.value(current), "orders");
}

/// That the browser had nothing to complain of, and asked nobody else.
fn check_reports(browser: &Browser, rig: &Rig) {
    let own = format!("http://{}/", rig.exporter.local_addr());
    let requests = browser.of("Network.requestWillBeSent");
    assert!(5 < requests.len());
    for request in requests {
        let url = request["request"]["url"].as_str().unwrap();
        assert!(url.starts_with(&own) || url.starts_with("data:"), "{url}");
    }
    assert_eq!(browser.of("Runtime.exceptionThrown"), Vec::<&Value>::new());
    assert_eq!(browser.of("Runtime.consoleAPICalled"), Vec::<&Value>::new());
    assert_eq!(browser.of("Log.entryAdded"), Vec::<&Value>::new());
}

#[test]
fn the_page_shows_what_the_command_line_says_asks_nobody_else_and_complains_of_nothing() {
    let Some(chromium) = browser::require() else {
        return;
    };
    let rig = Rig::new();
    let busy = [
        populate(&rig.store),
        database(&rig.store, 0),
        database(&rig.store, 1),
    ];
    let kept = tempfile::tempdir().unwrap();
    let made = rig
        .store
        .backup(kept.path(), &BackupOptions::new(), &mut |_| ());
    made.unwrap();
    let mut browser = Browser::start(&chromium);
    beside_commits(&busy, || {
        open(&mut browser, &rig);
        browser.wait_for("document.body.dataset.answers >= 4");
        for rate in ["commits-rate", "writes-rate"] {
            browser.wait_for(&format!(
                "Number(document.getElementById('{rate}').textContent.replace(/,/g, '')) > 0"
            ));
        }
        looks::take_pictures(&mut browser);
        assert_ne!(
            browser.value("document.querySelector('#chart .line-a').getAttribute('d')"),
            ""
        );
    });
    // What is left to be done is done now, and not by somebody in the background between two looks.
    rig.store.checkpoint().unwrap();
    commit(&busy[0], 1);
    figures::check(&mut browser, &rig);
    check_tree(&mut browser);
    looks::check_schemes(&mut browser);
    looks::check_phone(&mut browser);
    check_reports(&browser, &rig);

    // It says so when there is nobody any more.
    rig.exporter.stop();
    browser.wait_for("document.body.dataset.state === 'lost'");
    assert_eq!(
        browser.value("document.getElementById('trouble').hidden"),
        false
    );
    rig.store.close(LONG).unwrap();
    drop(rig.dir);
}
