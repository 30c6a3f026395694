//! `bop`: the store from the command line.
//!
//! Owns the process: arguments in, exit status out. What a command does stands in [`commands`].
//!
//! Invariant: answers go to standard output, everything else to standard error.

#![deny(unsafe_code)]

mod args;
mod commands;
mod session;
mod sql;

use args::Args;
use bop_control::Failure;
use bop_storage::error::ErrorCode;
use clap::Parser;
use clap::error::ErrorKind;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::fmt::format::FmtSpan;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    if let Some(filter) = &args.log {
        // What a span took is said when it ends, so that work without events shows too.
        tracing_subscriber::fmt()
            .with_env_filter(filter.clone())
            .with_span_events(FmtSpan::CLOSE)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .init();
    }
    let json = args.json;
    match commands::run(args) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => fail(&failure, json),
    }
}

/// Reports a wrong command line. Help and version come this way too; they are no errors.
fn usage(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && wants_json {
        let text = error.render().to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text);
        // How it is used follows; the hint says where that is to be had.
        let message = message.split("\n\nUsage:").next().unwrap_or(message);
        return fail(&Failure::new(ErrorCode::Usage, message.trim_end()), true);
    }
    if error.kind() == ErrorKind::DisplayVersion && wants_json {
        let version = env!("CARGO_PKG_VERSION");
        // Nothing can be told to whom does not listen.
        let _ = writeln!(std::io::stdout(), "{}", json!({ "version": version }));
        return ExitCode::SUCCESS;
    }
    let _ = error.print();
    ExitCode::from(if error.use_stderr() {
        ErrorCode::Usage.exit_status()
    } else {
        0
    })
}

fn fail(failure: &Failure, json: bool) -> ExitCode {
    // After `| head` the status tells alone.
    if !failure.reader_left {
        commands::report(failure, json);
    }
    ExitCode::from(failure.exit_status())
}
