//! Checkpoints, barriers and questions beside the work of the others.

use super::Load;
use crate::Result;
use crate::stop::Stop;
use bop_libsql::Store;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(700);

/// Has no data.
pub(super) struct House;

impl Load for House {
    fn name(&self) -> String {
        "house".to_owned()
    }

    fn run(&mut self, store: &Store, stop: &Stop, _commits: &AtomicU64) -> Result<()> {
        let manager = store.manager();
        while !stop.is_set() {
            stop.wait(PAUSE);
            manager.sync()?;
            manager.checkpoint()?;
            manager.databases();
            if !manager.metrics_text().contains("\nbop_log_poisoned 0\n") {
                return Err("the metrics say that the log is poisoned".into());
            }
        }
        Ok(())
    }
}
