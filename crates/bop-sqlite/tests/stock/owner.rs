//! A program that has a store open through the extension, and does what it is told.

use crate::run::{Place, python, script};
use bop_control::{Client, Failure, Request, Terminal};
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A thread that was joined is in the list for a moment longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Python, which does what it is told.
pub(crate) struct Owner {
    pub(crate) place: Place,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Owner {
    /// `None`, loudly, where there is no Python that can load the extension.
    pub(crate) fn start(environment: &[(&str, &str)]) -> Option<Self> {
        let place = Place::new();
        let mut command = Command::new(python()?);
        place.tell(&mut command).arg(script("asked.py"));
        command
            .env_remove("BOP_CONTROL")
            .env_remove("BOP_SQL_DEADLINE_SECONDS")
            .envs(environment.iter().copied());
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
    pub(crate) fn does(&mut self, expression: &str) -> String {
        self.begins(expression);
        self.has_done()
    }

    /// Has it do something, and waits for nothing.
    pub(crate) fn begins(&mut self, expression: &str) {
        writeln!(self.input, "{expression}").unwrap();
    }

    /// What came of the oldest that it began.
    pub(crate) fn has_done(&mut self) -> String {
        self.output.next().expect("it has ended").unwrap()
    }

    /// Waits until so many of its threads serve the control socket.
    pub(crate) fn serves(&mut self, threads: usize) {
        let until = Instant::now() + PATIENCE;
        while self.does("control_threads()") != threads.to_string() {
            assert!(Instant::now() < until, "not {threads} threads");
        }
    }

    pub(crate) fn client(&self) -> Option<Client> {
        Client::connect(&self.place.store()).unwrap()
    }

    /// Asks it; answers what is printed.
    pub(crate) fn ask(&self, request: &Request) -> Result<String, Failure> {
        let mut answer = Terminal::into(Vec::new());
        self.client().unwrap().run(request, true, &mut answer)?;
        Ok(String::from_utf8(answer.into_output()?).unwrap())
    }

    pub(crate) fn has_socket(&self) -> bool {
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
