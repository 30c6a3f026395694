//! The command line of a side: `WORK DIR [--databases N] [--threads N]`.

use crate::Result;
use crate::process::Usage;
use std::path::PathBuf;

/// What the driver asks a side to do.
#[derive(Clone, Debug)]
pub struct Args {
    /// Which work, in the words of the side.
    pub work: String,
    /// A directory of its own, or the one that an earlier process of the side left.
    pub dir: PathBuf,
    /// Databases (regions, logs) that are written to.
    pub databases: usize,
    /// Threads that write.
    pub threads: usize,
    /// Threads beside them that compute all the time.
    pub computing: usize,
    /// Resident memory when the process began.
    pub rss_before: u64,
}

impl Args {
    /// Those of this process.
    ///
    /// # Errors
    /// When one is missing or makes no sense.
    pub fn parse() -> Result<Self> {
        let mut given = std::env::args_os().skip(1);
        let (Some(work), Some(dir)) = (given.next(), given.next()) else {
            return Err("two arguments are needed: a work and a directory".into());
        };
        let work = work.into_string().map_err(|_| "the work is no text")?;
        let mut args = Self {
            work,
            dir: dir.into(),
            databases: 1,
            threads: 1,
            computing: 0,
            rss_before: Usage::read()?.rss_bytes,
        };
        while let (Some(name), value) = (given.next(), given.next()) {
            let value = value.and_then(|value| value.into_string().ok());
            let value = value.and_then(|value| value.parse().ok());
            let value = value.ok_or_else(|| format!("{} needs a number", name.display()))?;
            match name.to_str() {
                Some("--databases") => args.databases = value,
                Some("--threads") => args.threads = value,
                _ => return Err(format!("unknown option {}", name.display()).into()),
            }
        }
        Ok(args)
    }

    /// The same for one thread: what is done once.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self {
            threads: 1,
            ..self.clone()
        }
    }

    /// The same beside a thread for each processor that computes: a machine that has other work, too.
    ///
    /// # Errors
    /// When nobody knows how many processors there are.
    pub fn beside_others(&self) -> Result<Self> {
        Ok(Self {
            computing: std::thread::available_parallelism()?.get(),
            ..self.clone()
        })
    }

    /// The answer to a work that a side does not know.
    pub fn unknown<T>(&self) -> Result<T> {
        Err(format!("unknown work {:?}", self.work).into())
    }
}
