//! The page for people: one document, with its style and script inside.
//!
//! Invariants
//! - the browser runs and asks nothing but what is in the document and what this exporter answers: the policy in the
//!   head of the answer names a nonce, new each time, for style and script;
//! - text of the store is put in as text (`textContent`), never as markup.

use crate::routes::reply as plain;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use hyper::{Response, StatusCode};
use std::fmt::Write;
use std::io;

/// The document, with places for the nonce, the style and the script.
const DOCUMENT: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// One module: each part uses what stands before it.
const SCRIPT: [&str; 6] = [
    include_str!("script/format.js"),
    include_str!("script/poll.js"),
    include_str!("script/chart.js"),
    include_str!("script/panels.js"),
    include_str!("script/tree.js"),
    include_str!("script/main.js"),
];

const HTML: &str = "text/html; charset=utf-8";

/// The page.
///
/// # Errors
/// The kernel has no random bytes.
pub(crate) fn reply() -> io::Result<Response<Full<Bytes>>> {
    let nonce = nonce()?;
    let page = DOCUMENT
        .replace("NONCE", &nonce)
        .replace("/* STYLE */", STYLE)
        .replace("/* SCRIPT */", &SCRIPT.concat());
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut reply = plain(StatusCode::OK, HTML, page);
    let policy = HeaderValue::from_str(&policy).map_err(io::Error::other)?;
    reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    Ok(reply)
}

fn nonce() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let mut nonce = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(nonce, "{byte:02x}");
    }
    Ok(nonce)
}
