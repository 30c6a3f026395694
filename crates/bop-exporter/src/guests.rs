//! The connections.
//!
//! ```text
//!   waits for a head --a request--> is answered --> waits for a head ...
//!     '--silent for HEAD_PATIENCE, a head of more than HEAD_BYTES_MAX, or its place is needed--> closed
//!   CONNECTION_TIME is over, or the exporter ends --> closed behind the answer, LAST_ANSWER_TIME later in any case
//! ```
//! Invariants
//! - there are at most [`CONNECTIONS_MAX`], and one that only listens or is silent keeps no other out;
//! - what a client sends, or does not, ends that client alone.
//!
//! Never: waits for a client without a deadline, or for the store.

use crate::options::{
    CONNECTION_TIME, CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_PATIENCE, LAST_ANSWER_TIME,
};
use crate::routes::Routes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long it is waited before the next is accepted, when the process had no descriptor left for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection.
struct Guest {
    task: JoinHandle<()>,
    is_answered: Arc<AtomicBool>,
}

/// All of them, the oldest first.
#[derive(Default)]
struct Guests(VecDeque<Guest>);

impl Guests {
    /// Makes a place for one more, if there is none and somebody does nothing with his.
    fn make_room(&mut self) -> bool {
        self.0.retain(|guest| !guest.task.is_finished());
        if self.0.len() < CONNECTIONS_MAX {
            return true;
        }
        let is_idle = |guest: &Guest| !guest.is_answered.load(Ordering::Acquire);
        let Some(guest) = self
            .0
            .iter()
            .position(is_idle)
            .and_then(|at| self.0.remove(at))
        else {
            return false;
        };
        guest.task.abort();
        true
    }
}

/// Answers whoever comes, until `ended` says so.
pub(crate) async fn accept_all(
    listener: TcpListener,
    routes: Arc<Routes>,
    mut ended: watch::Receiver<bool>,
) {
    let mut guests = Guests::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        match accepted {
            Ok((stream, _)) if guests.make_room() => {
                let is_answered = Arc::new(AtomicBool::new(false));
                let (routes, ended) = (Arc::clone(&routes), ended.clone());
                let task = serve(stream, routes, Arc::clone(&is_answered), ended);
                let task = tokio::spawn(task);
                guests.0.push_back(Guest { task, is_answered });
            }
            // He may come again.
            Ok((stream, _)) => drop(stream),
            Err(error) => {
                tracing::warn!(%error, "the exporter accepts nobody");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    for guest in guests.0 {
        // They were told, too, and have a deadline. One that panicked is as good as gone.
        let _ = guest.task.await;
    }
}

async fn serve(
    stream: TcpStream,
    routes: Arc<Routes>,
    is_answered: Arc<AtomicBool>,
    mut ended: watch::Receiver<bool>,
) {
    let service = service_fn(|request| {
        let (routes, is_answered) = (Arc::clone(&routes), Arc::clone(&is_answered));
        async move {
            is_answered.store(true, Ordering::Release);
            let response = routes.answer(&request).await;
            is_answered.store(false, Ordering::Release);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = over(&mut ended) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER_TIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a client of the exporter is let go");
    }
}

/// Waits until a connection has been long enough, or the exporter ends.
async fn over(ended: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = sleep(CONNECTION_TIME) => {}
        _ = ended.wait_for(|ended| *ended) => {}
    }
}
