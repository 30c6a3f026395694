//! The rows of the queue of jobs: one a job, the number of the next one, and when a database was
//! scrubbed last.
//!
//! ```text
//! JobBytes | code | place | reason (all UTF-8)   JobIdsBytes   ScrubBytes
//! ```
//! Invariant: as for all rows, [`Row::decode`] accepts exactly what [`Row::encode`] writes.
//!
//! Never: decides what becomes of a job (that is [`jobs`](super::jobs)).

use super::rows::{Row, ensure, exactly};
use super::schema::Single;
use super::store::Table;
use crate::error::{Damage, ErrorCode, Reject};
use crate::ids::{DbId, Epoch, JobId};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of each text of a job's error at most.
const TEXT_BYTES_MAX: usize = 255;

/// What a job does.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum JobKind {
    /// Reads the chunks of one database, or of all, and checks every byte.
    Scrub = 1,
}

impl JobKind {
    /// All kinds, in the order of their codes.
    pub const ALL: [Self; 1] = [Self::Scrub];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scrub => "scrub",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// What whoever asks for a job calls it: asking again under the same token gives the same job.
pub type JobToken = [u8; 16];

/// How an attempt ended that did not succeed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct JobFailure {
    /// What kind of error it was.
    pub code: ErrorCode,
    /// Where it was met; empty when it has no place.
    pub place: String,
    /// Why.
    pub reason: String,
}

impl JobFailure {
    /// Texts are cut to 255 bytes each.
    pub fn new(code: ErrorCode, place: &str, reason: &str) -> Self {
        Self {
            code,
            place: cut(place),
            reason: cut(reason),
        }
    }

    /// The failure that damage is. What the kernel could not read is an error of I/O: it may be
    /// read the next time.
    pub fn of_damage(damage: &Damage) -> Self {
        let code = match &damage.reason {
            Reject::Unreadable(failure) => failure.code(),
            _ => ErrorCode::Corrupt,
        };
        Self::new(code, &damage.place.to_string(), &damage.reason.to_string())
    }
}

impl std::fmt::Display for JobFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place.as_str() {
            "" => f.write_str(&self.reason),
            place => write!(f, "{place}: {}", self.reason),
        }
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

/// Where a job is on its way.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum JobState {
    /// It waits for somebody to take it, from `from_us` on.
    Pending {
        /// In microseconds since the Unix epoch; 0 for at once.
        from_us: u64,
    },
    /// Somebody works at it.
    Leased {
        /// Which opening of the store that is: one that is over works at nothing.
        holder: Epoch,
        /// Until when, unless it is renewed.
        until_us: u64,
    },
    /// It succeeded.
    Done,
    /// It did not, and is not tried again.
    Failed,
}

impl JobState {
    /// Whether nothing becomes of the job any more.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Leased { .. } => "leased",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Code, holder, moment.
    const fn parts(self) -> (u8, u64, u64) {
        match self {
            Self::Pending { from_us } => (1, 0, from_us),
            Self::Leased { holder, until_us } => (2, holder.get(), until_us),
            Self::Done => (3, 0, 0),
            Self::Failed => (4, 0, 0),
        }
    }

    fn from_parts(code: u8, holder: u64, moment: u64) -> Result<Self, Reject> {
        let state = match code {
            1 => Self::Pending { from_us: moment },
            2 => Self::Leased {
                holder: Epoch::new(holder),
                until_us: moment,
            },
            3 => Self::Done,
            4 => Self::Failed,
            _ => return Err(Reject::Invalid("state of a job")),
        };
        ensure(
            state.parts() == (code, holder, moment),
            "a lease of a job that nobody has",
        )?;
        Ok(state)
    }
}

/// A job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobRow {
    /// What it does.
    pub kind: JobKind,
    /// To which database; [`DbId::CATALOGUE`] stands for the whole store.
    pub database: DbId,
    /// What whoever asked for it calls it.
    pub token: JobToken,
    /// Where it is.
    pub state: JobState,
    /// How often it was begun, and was not just handed back.
    pub attempts: u16,
    /// When it was asked for, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// When it was heard of last.
    pub updated_us: u64,
    /// How the last attempt ended that did not succeed.
    pub failure: Option<JobFailure>,
}

/// The bytes of [`JobRow`]; code, place and reason of its failure stand behind, in UTF-8.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct JobBytes {
    /// A [`JobKind`], as its code.
    pub kind: u8,
    /// A [`JobState`], as its code.
    pub state: u8,
    /// How often it was begun: one that ends the process each time is given up.
    pub attempts: U16,
    /// Bytes of the failure's code; 0 without one.
    pub code_bytes: u8,
    /// Bytes of its place: a cut one is noticed.
    pub place_bytes: u8,
    /// Bytes of its reason: a cut one is noticed.
    pub reason_bytes: u8,
    /// Zero.
    pub reserved: u8,
    /// The database; 0 for the whole store.
    pub database: U64,
    /// What whoever asked calls it: who asks again gets the same job.
    pub token: [u8; 16],
    /// Of a leased job, the opening that works at it: one that is over is noticed.
    pub holder: U64,
    /// Of a leased job, until when; of a pending one, from when; else 0.
    pub moment_us: U64,
    /// When it was asked for.
    pub created_us: U64,
    /// When it was heard of last.
    pub updated_us: U64,
}
const _: () = assert!(size_of::<JobBytes>() == 64);

impl Row for JobRow {
    type Key = JobId;
    const TABLE: Table = Table::Jobs;

    fn encode(&self) -> Vec<u8> {
        let failure = self.failure.as_ref();
        let code = failure.map_or("", |failure| failure.code.as_str());
        let place = failure.map_or("", |failure| failure.place.as_str());
        let reason = failure.map_or("", |failure| failure.reason.as_str());
        // Longer texts than a byte counts do not read back, and are refused for that.
        let count = |text: &str| u8::try_from(text.len()).unwrap_or(u8::MAX);
        let (state, holder, moment_us) = self.state.parts();
        let bytes = JobBytes {
            kind: self.kind as u8,
            state,
            attempts: self.attempts.into(),
            code_bytes: count(code),
            place_bytes: count(place),
            reason_bytes: count(reason),
            reserved: 0,
            database: self.database.get().into(),
            token: self.token,
            holder: holder.into(),
            moment_us: moment_us.into(),
            created_us: self.created_us.into(),
            updated_us: self.updated_us.into(),
        };
        let texts = [code.as_bytes(), place.as_bytes(), reason.as_bytes()];
        [bytes.as_bytes(), &texts.concat()].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let Ok((bytes, texts)) = JobBytes::read_from_prefix(bytes) else {
            return Err(Reject::Truncated {
                found: bytes.len() as u64,
                needed: size_of::<JobBytes>() as u64,
            });
        };
        ensure(bytes.reserved == 0, "reserved bytes are not zero")?;
        let (moment, holder) = (bytes.moment_us.get(), bytes.holder.get());
        let row = Self {
            kind: JobKind::from_code(bytes.kind).ok_or(Reject::Invalid("kind of job"))?,
            database: DbId::new(bytes.database.get()),
            token: bytes.token,
            state: JobState::from_parts(bytes.state, holder, moment)?,
            attempts: bytes.attempts.get(),
            created_us: bytes.created_us.get(),
            updated_us: bytes.updated_us.get(),
            failure: decode_failure(&bytes, texts)?,
        };
        let told = match row.state {
            JobState::Pending { .. } => true,
            JobState::Leased { .. } => row.attempts > 0,
            JobState::Done => row.failure.is_none(),
            JobState::Failed => row.failure.is_some(),
        };
        ensure(told, "a job whose state contradicts its attempts")?;
        Ok(row)
    }
}

fn decode_failure(bytes: &JobBytes, texts: &[u8]) -> Result<Option<JobFailure>, Reject> {
    let lengths = [bytes.code_bytes, bytes.place_bytes, bytes.reason_bytes].map(usize::from);
    let [code, place, reason] = lengths;
    ensure(
        texts.len() == code + place + reason,
        "length of a job's failure",
    )?;
    let text = |range| {
        let bytes = texts.get(range).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| Reject::Invalid("a job's failure is not UTF-8"))
    };
    let (name, at) = (text(0..code)?, text(code..code + place)?);
    let why = text(code + place..texts.len())?;
    if name.is_empty() {
        ensure(texts.is_empty(), "a job's failure without its code")?;
        return Ok(None);
    }
    let code = ErrorCode::ALL.iter().find(|code| code.as_str() == name);
    let code = *code.ok_or(Reject::Invalid("code of a job's failure"))?;
    Ok(Some(JobFailure::new(code, at, why)))
}

/// The numbers of jobs.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct JobIdsRow {
    /// The number of the next job.
    pub next: JobId,
}

impl JobIdsRow {
    /// Of a new store.
    pub const INITIAL: Self = Self {
        next: JobId::new(1),
    };
}

/// The bytes of [`JobIdsRow`].
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct JobIdsBytes {
    /// The number of the next job: none is given out twice.
    pub next: U64,
}
const _: () = assert!(size_of::<JobIdsBytes>() == 8);

impl Row for JobIdsRow {
    type Key = Single;
    const TABLE: Table = Table::JobIds;

    fn encode(&self) -> Vec<u8> {
        let next = self.next.get().into();
        JobIdsBytes { next }.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let bytes: JobIdsBytes = exactly(bytes)?;
        let next = JobId::new(bytes.next.get());
        Ok(Self { next })
    }
}

/// When a database was scrubbed last, and nothing was wrong.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ScrubRow {
    /// The job that did it: one that is resumed does not begin again.
    pub job: JobId,
    /// When, in microseconds since the Unix epoch.
    pub finished_us: u64,
    /// Pages of its newest generation, whose hashes add up to its rolling checksum.
    pub pages: u32,
    /// Bytes that were read.
    pub bytes: u64,
}

/// The bytes of [`ScrubRow`].
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ScrubBytes {
    /// The job: one that is resumed does not begin again.
    pub job: U64,
    /// When it was done with this database.
    pub finished_us: U64,
    /// Bytes that were read.
    pub bytes: U64,
    /// Pages of the generation that was read.
    pub pages: U32,
    /// Zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<ScrubBytes>() == 32);

impl Row for ScrubRow {
    type Key = DbId;
    const TABLE: Table = Table::Scrubs;

    fn encode(&self) -> Vec<u8> {
        let bytes = ScrubBytes {
            job: self.job.get().into(),
            finished_us: self.finished_us.into(),
            bytes: self.bytes.into(),
            pages: self.pages.into(),
            reserved: U32::ZERO,
        };
        bytes.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let bytes: ScrubBytes = exactly(bytes)?;
        ensure(bytes.reserved == U32::ZERO, "reserved bytes are not zero")?;
        Ok(Self {
            job: JobId::new(bytes.job.get()),
            finished_us: bytes.finished_us.get(),
            pages: bytes.pages.get(),
            bytes: bytes.bytes.get(),
        })
    }
}
