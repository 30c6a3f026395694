//! A Prometheus of the test's own, and what it says of the alerts.
//!
//! ```text
//!   config, scaled rules --> prometheus --scrapes--> exporters
//!                                ^--asked again and again by one thread--> what is firing --> those who wait for it
//! ```
//! Invariant: the process is killed, by its id, and its files are gone whatever becomes of the test.

use crate::scaled::scaled;
use crate::{is_installed, repository};
use parking_lot::{Condvar, Mutex};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two questions to Prometheus.
const PAUSE: Duration = Duration::from_millis(50);

const CONFIG: &str = "\
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 250ms}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: bop
    static_configs:
      - targets:
";

/// An alert that is firing.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Firing {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Default)]
struct Seen {
    /// Of the newest answer.
    firing: Vec<Firing>,
    /// Instance and name of all that ever fired.
    ever: BTreeSet<(String, String)>,
    over: bool,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// A running Prometheus.
pub(crate) struct Prometheus {
    server: Server,
    shared: Arc<Shared>,
    asker: Option<JoinHandle<()>>,
}

impl Prometheus {
    /// One that has scraped all these; `None`, loudly, where the program is missing.
    pub(crate) fn start(targets: &[SocketAddr]) -> Option<Self> {
        if !is_installed("prometheus") {
            return None;
        }
        let server = Server::start(targets);
        server.wait_for(targets.len());
        let shared = Arc::<Shared>::default();
        let (of_asker, address) = (Arc::clone(&shared), server.address);
        let asker = std::thread::spawn(move || of_asker.ask(address));
        Some(Self {
            server,
            shared,
            asker: Some(asker),
        })
    }

    /// Returns the annotations of an alert of an instance with this label, once it is firing. Before each look
    /// `meanwhile` is called.
    pub(crate) fn fires(
        &self,
        instance: SocketAddr,
        alert: &str,
        label: Option<(&str, &str)>,
        meanwhile: impl FnMut(),
    ) -> BTreeMap<String, String> {
        let found = self.wait(&format!("{alert} fires"), meanwhile, |seen| {
            let found = seen.firing.iter().find(|firing| {
                let has = |(name, value): (&str, &str)| firing.label(name) == value;
                firing.is(instance, alert) && label.is_none_or(has)
            });
            found.cloned()
        });
        found.annotations
    }

    /// Returns once an alert of an instance is not firing.
    pub(crate) fn is_gone(&self, instance: SocketAddr, alert: &str, meanwhile: impl FnMut()) {
        self.wait(&format!("{alert} is gone"), meanwhile, |seen| {
            let is_there = seen.firing.iter().any(|firing| firing.is(instance, alert));
            (!is_there).then_some(())
        });
    }

    /// Returns once all these alerts of an instance are firing.
    pub(crate) fn fire<const N: usize>(&self, instance: SocketAddr, alerts: [&str; N]) {
        for alert in alerts {
            self.fires(instance, alert, None, || ());
        }
    }

    /// Returns once none of these alerts of an instance is firing.
    pub(crate) fn are_gone<const N: usize>(
        &self,
        instance: SocketAddr,
        alerts: [&str; N],
        mut meanwhile: impl FnMut(),
    ) {
        for alert in alerts {
            self.is_gone(instance, alert, &mut meanwhile);
        }
    }

    /// Returns once so much time has passed since `began`.
    pub(crate) fn has_passed(&self, began: Instant, time: Duration) {
        self.wait(
            "time passes",
            || (),
            |_| (time < began.elapsed()).then_some(()),
        );
    }

    /// The alerts of an instance that ever fired.
    pub(crate) fn ever(&self, instance: SocketAddr) -> BTreeSet<String> {
        let seen = self.shared.seen.lock();
        let of_instance = seen
            .ever
            .iter()
            .filter(|(of, _)| *of == instance.to_string());
        of_instance.map(|(_, alert)| alert.clone()).collect()
    }

    fn wait<T>(
        &self,
        what: &str,
        mut meanwhile: impl FnMut(),
        mut found: impl FnMut(&Seen) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            meanwhile();
            let mut seen = self.shared.seen.lock();
            if let Some(found) = found(&seen) {
                return found;
            }
            let late = deadline <= Instant::now();
            assert!(
                !late,
                "in vain: {what}; {:#?}\n{}",
                seen.firing,
                self.server.log()
            );
            self.shared.changed.wait_for(&mut seen, PAUSE * 4);
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.shared.seen.lock().over = true;
        self.shared.changed.notify_all();
        if let Some(asker) = self.asker.take() {
            // It has nothing to say.
            let _ = asker.join();
        }
    }
}

impl Firing {
    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    fn is(&self, instance: SocketAddr, alert: &str) -> bool {
        self.label("instance") == instance.to_string() && self.label("alertname") == alert
    }
}

impl Shared {
    /// The asking thread's life.
    fn ask(&self, address: SocketAddr) {
        loop {
            let answer = get(address, "/api/v1/alerts");
            let mut seen = self.seen.lock();
            if let Some(answer) = answer {
                seen.firing = firing(&answer);
                let Seen { firing, ever, .. } = &mut *seen;
                let of =
                    |one: &Firing| (one.label("instance").into(), one.label("alertname").into());
                ever.extend(firing.iter().map(of));
                self.changed.notify_all();
            }
            if seen.over {
                return;
            }
            self.changed.wait_for(&mut seen, PAUSE);
        }
    }
}

fn firing(answer: &Value) -> Vec<Firing> {
    let alerts = answer["data"]["alerts"].as_array().unwrap();
    let strings = |value: &Value| serde_json::from_value(value.clone()).unwrap();
    let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
    let firing = firing.map(|alert| Firing {
        labels: strings(&alert["labels"]),
        annotations: strings(&alert["annotations"]),
    });
    firing.collect()
}

/// The process, and the directory of all that it reads and writes.
struct Server {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Server {
    fn start(targets: &[SocketAddr]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rules = fs::read_to_string(repository("ops/alerts.yml")).unwrap();
        fs::write(dir.path().join("alerts.yml"), scaled(&rules)).unwrap();
        let mut config = CONFIG.to_owned();
        for target in targets {
            writeln!(config, "          - '{target}'").unwrap();
        }
        fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        // Prometheus does not say which port it was given, so it is given one that was free just now.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let at = |flag: &str, path: &str| format!("--{flag}={}", dir.path().join(path).display());
        let child = Command::new("prometheus")
            .arg(at("config.file", "prometheus.yml"))
            .arg(at("storage.tsdb.path", "data"))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            address,
            dir,
        }
    }

    /// Returns when so many targets were scraped.
    fn wait_for(&self, targets: usize) {
        let deadline = Instant::now() + PATIENCE;
        let pause = (Mutex::new(()), Condvar::new());
        loop {
            let answer = get(self.address, "/api/v1/targets?state=active").unwrap_or_default();
            let active = answer["data"]["activeTargets"].as_array();
            let up = active.map_or(0, |all| {
                all.iter().filter(|one| one["health"] == "up").count()
            });
            if up == targets {
                return;
            }
            let late = deadline <= Instant::now();
            assert!(
                !late,
                "{up} of {targets} were scraped: {answer}\n{}",
                self.log()
            );
            pause.1.wait_for(&mut pause.0.lock(), PAUSE);
        }
    }

    fn log(&self) -> String {
        log_in(self.dir.path())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_in(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// What Prometheus answers; `None` while it does not.
fn get(address: SocketAddr, path: &str) -> Option<Value> {
    let mut client = TcpStream::connect(address).ok()?;
    client.set_read_timeout(Some(PATIENCE)).ok()?;
    // In version 1.0 an answer ends with the connection, and comes in one piece.
    write!(client, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.contains(" 200 ") {
        return None;
    }
    serde_json::from_str(body).ok()
}
