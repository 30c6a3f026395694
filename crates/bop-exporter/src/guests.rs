//! The connections.
//!
//! ```text
//!   waits for a head --a request--> is answered --> waits for a head ...
//!     '--silent for HEAD_PATIENCE, a head of more than HEAD_BYTES_MAX, or its place is needed--> closed
//!   CONNECTION_TIME is over, or the exporter ends --> closed behind the answer, LAST_ANSWER_TIME later in any case
//! ```
//! Invariants
//! - there are at most [`CONNECTIONS_MAX`], and one that only listens or is silent keeps no other out: it is closed, also
//!   behind an answer that it is slow to take. While all of them are being answered, who comes waits for the first of
//!   them that no longer is, or whose time is over;
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
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long it is waited before the next is accepted, when the process had no descriptor left for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection.
struct Guest {
    task: JoinHandle<()>,
    turn: Arc<Turn>,
}

/// Whether a connection is being answered. It no longer is when its task is over, however that ends.
struct Turn {
    is_answered: AtomicBool,
    /// Who needs a place is told when it no longer is.
    freed: Arc<Notify>,
}

impl Turn {
    fn begin(&self) -> Answering<'_> {
        self.is_answered.store(true, Ordering::Release);
        Answering(self)
    }
}

/// An answer on its way.
struct Answering<'a>(&'a Turn);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.is_answered.store(false, Ordering::Release);
        self.0.freed.notify_one();
    }
}

/// All of them, the oldest first.
#[derive(Default)]
struct Guests {
    all: VecDeque<Guest>,
    freed: Arc<Notify>,
}

impl Guests {
    /// Makes a place for one more, as soon as there is one or somebody does nothing with his.
    async fn make_room(&mut self) {
        while !self.has_room() {
            self.freed.notified().await;
        }
    }

    fn has_room(&mut self) -> bool {
        self.all.retain(|guest| !guest.task.is_finished());
        if self.all.len() < CONNECTIONS_MAX {
            return true;
        }
        let is_idle = |guest: &Guest| !guest.turn.is_answered.load(Ordering::Acquire);
        let idle = self.all.iter().position(is_idle);
        let Some(guest) = idle.and_then(|at| self.all.remove(at)) else {
            return false;
        };
        guest.task.abort();
        true
    }

    fn welcome(&mut self, stream: TcpStream, routes: Arc<Routes>, ended: watch::Receiver<bool>) {
        let turn = Arc::new(Turn {
            is_answered: AtomicBool::new(false),
            freed: Arc::clone(&self.freed),
        });
        let task = tokio::spawn(serve(stream, routes, Arc::clone(&turn), ended));
        self.all.push_back(Guest { task, turn });
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
            accepted = accept(&listener, &mut guests) => accepted,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        match accepted {
            Ok(stream) => guests.welcome(stream, Arc::clone(&routes), ended.clone()),
            Err(error) => {
                tracing::warn!(%error, "the exporter accepts nobody");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    for guest in guests.all {
        // They were told, too, and have a deadline. One that panicked is as good as gone.
        let _ = guest.task.await;
    }
}

/// The next who comes, for whom there is a place.
async fn accept(listener: &TcpListener, guests: &mut Guests) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    guests.make_room().await;
    Ok(stream)
}

async fn serve(
    stream: TcpStream,
    routes: Arc<Routes>,
    turn: Arc<Turn>,
    mut ended: watch::Receiver<bool>,
) {
    let service = service_fn(|request| {
        let (routes, turn) = (Arc::clone(&routes), Arc::clone(&turn));
        async move {
            let _answering = turn.begin();
            Ok::<_, Infallible>(routes.answer(&request).await)
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
