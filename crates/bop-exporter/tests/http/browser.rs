//! A headless Chromium, spoken to over a pipe: the DevTools protocol, a JSON object and a NUL each way.
//!
//! Everything that it reports is kept, so that a test can say what must not have been there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a browser may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// One page of a browser of its own.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Value,
    next: u64,
    /// What it reported, the oldest first.
    pub(crate) events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// A browser, where there is one. Without one the test is skipped, unless `BOP_REQUIRE_OPS=1`.
pub(crate) fn require() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|dir| NAMES.map(|name| dir.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        let required = std::env::var_os("BOP_REQUIRE_OPS").is_some_and(|value| value == "1");
        assert!(!required, "BOP_REQUIRE_OPS=1, but there is no chromium");
        eprintln!("SKIPPED: there is no chromium: the page was not tested");
    }
    found
}

impl Browser {
    /// Starts it with an empty page, of which everything is reported.
    pub(crate) fn start(program: &std::path::Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The protocol is spoken over the descriptors 3 and 4, which a shell can make of ours.
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"exec "$@" 3<&0 4>&1 0</dev/null 1>&2"#, "sh"])
            .arg(program)
            .args([
                "--headless",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-sync",
            ])
            .args([
                "--disable-component-update",
                "--disable-quic",
                "--disable-dev-shm-usage",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (told, heard) = channel();
        std::thread::spawn(move || {
            let messages = BufReader::new(from).split(0);
            for message in messages.map_while(Result::ok) {
                if told
                    .send(serde_json::from_slice(&message).unwrap())
                    .is_err()
                {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            to,
            from: heard,
            session: Value::Null,
            next: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", target)["sessionId"].take();
        for domain in ["Runtime", "Log", "Network", "Page"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method and waits for its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.to.write_all(message.to_string().as_bytes()).unwrap();
        self.to.write_all(&[0]).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut heard = self.from.recv_timeout(left);
            match &mut heard {
                Ok(heard) if heard["id"] == id => {
                    assert!(heard.get("error").is_none(), "{method}: {heard}");
                    return heard["result"].take();
                }
                Ok(event) => self.events.push(event.take()),
                Err(error) => panic!("chromium, {method}: {error}"),
            }
        }
    }

    /// Goes to an address, and waits until all of it is there.
    pub(crate) fn go_to(&mut self, url: &str) {
        let loaded = "Page.loadEventFired";
        let before = self.of(loaded).len();
        self.call("Page.navigate", json!({ "url": url }));
        while self.of(loaded).len() == before {
            let event = self.from.recv_timeout(PATIENCE).unwrap();
            self.events.push(event);
        }
    }

    /// The value of an expression of the page, which may be a promise.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let mut answer = self.call("Runtime.evaluate", params);
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].take()
    }

    /// Waits until an expression of the page is true.
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let until = Instant::now() + PATIENCE;
        let soon = format!(
            "new Promise((done) => {{ const look = (left) => ({expression}) ? done(true) \
             : left ? setTimeout(look, 20, left - 1) : done(false); look(50); }})"
        );
        while self.value(&soon) != true {
            assert!(Instant::now() < until, "it never came: {expression}");
        }
    }

    /// Presses keys, one after the other.
    pub(crate) fn press(&mut self, keys: &[&str]) {
        for key in keys {
            for kind in ["rawKeyDown", "keyUp"] {
                let params = json!({ "type": kind, "key": key, "code": key });
                self.call("Input.dispatchKeyEvent", params);
            }
        }
    }

    /// The events with this name, of which the parameters.
    pub(crate) fn of(&self, method: &str) -> Vec<&Value> {
        let of_method = |event: &&Value| event["method"] == method;
        let events = self.events.iter().filter(of_method);
        events.map(|event| &event["params"]).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The shell became the browser. It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
