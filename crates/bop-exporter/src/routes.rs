//! Which request gets which answer.
//!
//! Invariants
//! - an answer of the store goes out as it is; what is made here is health, and `bop_up`;
//! - no answer may be kept, framed or read by a page of another origin, and none changes anything.
//!
//! On a loopback address a `Host` must be one: a page of elsewhere, of which the name was made to point here (DNS
//! rebinding), says its own name.
//!
//! Never: takes a method but GET and HEAD, looks at a body or at a query.

use crate::desk::{Answer, Ask, Desk};
use crate::page;
use bop_control::Failure;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What there is, for whoever asks for something else.
const PATHS: [&str; 8] = [
    "/",
    "/metrics",
    "/healthz",
    "/readyz",
    "/api/status",
    "/api/stats",
    "/api/list",
    "/api/space",
];

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How old an answer of the store is, in milliseconds.
const AGE_MS: HeaderName = HeaderName::from_static("bop-age-ms");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What answers have that have no scripts.
const NO_CONTENT: &str = "default-src 'none'; frame-ancestors 'none'";

type Reply = Response<Full<Bytes>>;

/// The paths, and whoever answers them.
#[derive(Debug)]
pub(crate) struct Routes {
    desk: Arc<Desk>,
    is_loopback: bool,
}

impl Routes {
    pub(crate) fn new(desk: &Arc<Desk>, address: SocketAddr) -> Self {
        Self {
            desk: Arc::clone(desk),
            is_loopback: address.ip().is_loopback(),
        }
    }

    pub(crate) async fn answer<B>(&self, request: &Request<B>) -> Reply {
        let method = request.method();
        if method != Method::GET && method != Method::HEAD {
            let mut refused = reply(
                StatusCode::METHOD_NOT_ALLOWED,
                TEXT,
                "only GET and HEAD are taken\n",
            );
            let methods = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, methods);
            return refused;
        }
        if self.is_loopback && !is_host_local(request.headers()) {
            let why = "the Host is none of this machine; ask localhost, or 127.0.0.1\n";
            return reply(StatusCode::MISDIRECTED_REQUEST, TEXT, why);
        }
        match request.uri().path() {
            "/" => page::reply().unwrap_or_else(|error| {
                let why = format!("the page cannot be made: {error}\n");
                reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, why)
            }),
            "/metrics" => metrics(&*self.desk.answer(Ask::Metrics).await),
            "/healthz" => health(&*self.desk.answer(Ask::Status).await, "healthy"),
            "/readyz" => health(&*self.desk.answer(Ask::Status).await, "ready"),
            "/api/status" => passed(&*self.desk.answer(Ask::Status).await),
            "/api/stats" => passed(&*self.desk.answer(Ask::Stats).await),
            "/api/list" => passed(&*self.desk.answer(Ask::List).await),
            "/api/space" => passed(&*self.desk.answer(Ask::Space).await),
            _ => {
                let known = format!("there is {}\n", PATHS.join(", "));
                reply(StatusCode::NOT_FOUND, TEXT, known)
            }
        }
    }
}

/// Whether a request was meant for this machine. A program that names no host is no browser.
fn is_host_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = |address: IpAddr| address.is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

/// An answer with what every one has.
pub(crate) fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    let always = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, NO_CONTENT),
        (REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

fn with_age(mut reply: Reply, answer: &Answer) -> Reply {
    let age = u64::try_from(answer.at.elapsed().as_millis()).unwrap_or(u64::MAX);
    reply.headers_mut().insert(AGE_MS, age.into());
    reply
}

/// What the store says, or why it does not.
fn passed(answer: &Answer) -> Reply {
    let reply = match &answer.outcome {
        Ok(body) => reply(StatusCode::OK, JSON, body.clone()),
        Err(failure) => {
            let body = format!("{}\n", failure.to_json());
            reply(StatusCode::SERVICE_UNAVAILABLE, JSON, body)
        }
    };
    with_age(reply, answer)
}

/// A scrape always succeeds: that the store does not answer is a figure, too.
fn metrics(answer: &Answer) -> Reply {
    let (up, told) = match &answer.outcome {
        Ok(body) => (1, &body[..]),
        Err(_) => (0, &[][..]),
    };
    let of_up = format!(
        "# HELP bop_up Whether the store answered the exporter.\n# TYPE bop_up gauge\nbop_up {up}\n"
    );
    let body = [told, of_up.as_bytes()].concat();
    with_age(reply(StatusCode::OK, METRICS, body), answer)
}

/// The judgement of `bop status`: of this member, with its reasons.
fn health(answer: &Answer, member: &str) -> Reply {
    let judged = match &answer.outcome {
        Ok(body) => judge(body, member),
        Err(failure) => (false, json!([unreachable(failure)])),
    };
    let (is_good, reasons) = judged;
    let status = match is_good {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = format!("{}\n", json!({ member: is_good, "reasons": reasons }));
    with_age(reply(status, JSON, body), answer)
}

fn judge(status: &[u8], member: &str) -> (bool, Value) {
    let status: Value = serde_json::from_slice(status).unwrap_or(Value::Null);
    match status.get(member).and_then(Value::as_bool) {
        Some(is_good) => (is_good, status.get("reasons").cloned().unwrap_or_default()),
        None => {
            let failure = "the process that has the store open is of another version";
            let advice = "use the same version of bop in both";
            let reason = json!({
                "reason": "unreachable", "level": "failing", "what": failure, "advice": advice,
            });
            (false, json!([reason]))
        }
    }
}

/// A reason like those of `bop status`.
fn unreachable(failure: &Failure) -> Value {
    json!({
        "reason": "unreachable",
        "level": "failing",
        "what": failure.message,
        "advice": failure.hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_of_this_machine_is_local() {
        let is_local = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            is_host_local(&headers)
        };
        let here = [
            "localhost",
            "LocalHost:9497",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:9497",
        ];
        for host in here {
            assert!(is_local(host), "{host}");
        }
        let elsewhere = [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9497",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
        ];
        for host in elsewhere {
            assert!(!is_local(host), "{host}");
        }
        assert!(is_host_local(&HeaderMap::new()));
    }
}
