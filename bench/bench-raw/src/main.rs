//! The benchmarks' work on bare files: what the device gives without any engine.

use bench_work::{Args, Loop, MIB, Random, Result, Side};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{pread, pwrite};
use std::fs;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What direct I/O wants offsets, lengths and addresses to be multiples of.
const BLOCK: usize = 4096;
/// Bytes of the file that the writing works go round in.
const FILE_BYTES: usize = 1024 * MIB;
/// Writes of one slice of the work `stream`, as many bytes as the other side's commits.
const STREAM_WRITES: u64 = 512;

fn main() -> Result<()> {
    let args = Args::parse()?;
    match args.work.as_str() {
        "sync" => writes(&args, BLOCK, OFlags::DSYNC, Loop::TIMED),
        "stream" => {
            let rule = Loop {
                at_most: STREAM_WRITES,
                ..Loop::TIMED
            };
            writes(&args, MIB, OFlags::empty(), rule)
        }
        "read" => reads(&args),
        _ => args.unknown(),
    }
}

/// Bytes whose first one is aligned.
struct Aligned {
    bytes: Vec<u8>,
    window: Range<usize>,
}

impl Aligned {
    fn new(length: usize) -> Self {
        let bytes = vec![0; length + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        let window = start..start + length;
        Self { bytes, window }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.window.clone()]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.window.clone()]
    }
}

fn direct(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(open(path, flags | OFlags::DIRECT | OFlags::CLOEXEC, mode)?)
}

/// Writes of `length` bytes, one after the other, round and round in a file that was written before.
fn writes(args: &Args, length: usize, flags: OFlags, rule: Loop) -> Result<()> {
    let path = args.dir.join("raw");
    let file = direct(&path, flags | OFlags::CREATE | OFlags::WRONLY)?;
    let mut bytes = Aligned::new(64 * MIB);
    for offset in (0..FILE_BYTES).step_by(64 * MIB) {
        exactly(pwrite(&file, bytes.get(), offset as u64)?, 64 * MIB)?;
    }
    fs::File::open(&path)?.sync_all()?;
    Random::new(0).fill(bytes.get_mut());
    let bytes = &bytes;
    let side = Side::new(match flags.contains(OFlags::DSYNC) {
        true => "raw file, O_DIRECT|O_DSYNC",
        false => "raw file, O_DIRECT",
    });
    side.serve(args, |post| {
        let mut offset = 0;
        post.serve(rule, |random| {
            let from = random.number() as usize % (bytes.get().len() - length) / BLOCK * BLOCK;
            let content = &bytes.get()[from..from + length];
            exactly(pwrite(&file, content, offset as u64)?, length)?;
            offset = (offset + length) % FILE_BYTES;
            Ok(())
        })
    })
}

/// Reads the files of a directory by their names, 1 MiB at a time, until it has read 1 GiB; once is
/// one operation. A log's oldest segments come first, its spares behind that.
fn reads(args: &Args) -> Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir(&args.dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    let side = Side::new("raw files, O_DIRECT, 1 MiB a read");
    side.serve(args, |post| {
        let mut buffer = Aligned::new(MIB);
        post.serve(Loop::ONCE, |_| {
            let mut left = FILE_BYTES;
            for path in &paths {
                let file = direct(path, OFlags::RDONLY)?;
                let mut offset = 0;
                loop {
                    let read = pread(&file, &mut *buffer.get_mut(), offset)?;
                    offset += read as u64;
                    left = left.saturating_sub(read);
                    if left == 0 {
                        return Ok(());
                    }
                    if read < MIB {
                        break;
                    }
                }
            }
            Err(format!("{left} bytes are missing to 1 GiB").into())
        })
    })
}

fn exactly(written: usize, length: usize) -> Result<()> {
    match written == length {
        true => Ok(()),
        false => Err(format!("{written} of {length} bytes were written").into()),
    }
}
