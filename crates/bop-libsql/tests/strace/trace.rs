//! What `strace -f -y` wrote: system calls with the moments they began and returned.
//!
//! A moment is the number of a line. A call that another thread's call interrupted has two lines,
//! "... <unfinished ...>" and "<... NAME resumed> ...", which are joined here.

use std::collections::HashMap;

/// A call that returned.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Everything between the parentheses.
    pub(crate) arguments: String,
    pub(crate) began: usize,
    pub(crate) returned: usize,
    /// What it returned; negative for an error.
    pub(crate) value: i64,
    /// The call was not made: strace answered in the kernel's place.
    pub(crate) injected: bool,
}

impl Call {
    /// The file behind the first argument, a descriptor: `7</path/of/file>`.
    pub(crate) fn path(&self) -> &str {
        let named = self
            .arguments
            .split_once('<')
            .filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
        named
            .and_then(|(_, rest)| rest.split_once('>'))
            .map_or("", |(path, _)| path)
    }

    /// Whether it writes to the file behind its first argument.
    pub(crate) fn is_write(&self) -> bool {
        ["write", "writev", "pwrite64", "pwritev", "pwritev2"].contains(&self.name.as_str())
    }

    /// Whether it makes what was written before durable.
    pub(crate) fn is_sync(&self) -> bool {
        [
            "fsync",
            "fdatasync",
            "msync",
            "sync",
            "syncfs",
            "sync_file_range",
        ]
        .contains(&self.name.as_str())
    }

    /// Whether it is a write that is durable, all of it, when it returns.
    pub(crate) fn is_durable_write(&self) -> bool {
        let whole = format!("iov_len={}}}]", self.value);
        self.name == "pwritev2"
            && self.arguments.contains("RWF_DSYNC")
            && self.arguments.contains(&whole)
    }
}

/// The calls of a trace, in the order in which they began. One that never returned is left out.
pub(crate) fn parse(trace: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (moment, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread, (moment, start.trim_end()));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, end) = resumed.split_once(" resumed>").unwrap();
            let (began, start) = begun.remove(thread).unwrap();
            calls.extend(call(&format!("{start}{end}"), began, moment));
        } else {
            calls.extend(call(rest, moment, moment));
        }
    }
    calls.sort_by_key(|call| call.began);
    calls
}

/// One call; `None` for signals, exits and calls without an answer.
fn call(text: &str, began: usize, returned: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, answer) = rest.rsplit_once(" = ")?;
    let value = answer.split([' ', '<']).next()?.parse().ok()?;
    Some(Call {
        name: name.to_owned(),
        arguments: arguments.trim_end().trim_end_matches(')').to_owned(),
        began,
        returned,
        value,
        injected: answer.contains("(INJECTED)"),
    })
}

#[test]
fn a_trace_reads_as_calls_with_their_moments() {
    let calls = parse(
        r#"11  openat(AT_FDCWD, "x = y", O_RDONLY) = 3</tmp/x>
12  pwritev2(7</tmp/s/log/1>, [{iov_base="a) = 1\0", iov_len=7}], 1, 4096, RWF_DSYNC <unfinished ...>
11  fdatasync(3</tmp/x>)                = -1 EIO (Input/output error) (INJECTED)
12  <... pwritev2 resumed>)             = 7
12  fsync(3</tmp/x> <unfinished ...>
11  +++ exited with 0 +++
"#,
    );
    let [open, write, sync] = &calls[..] else {
        panic!("{calls:?}");
    };
    // strace shows a descriptor's file: the number in front of it is not all that is returned.
    assert_eq!((open.name.as_str(), open.value), ("openat", 3));
    assert_eq!((write.began, write.returned, write.value), (1, 3, 7));
    assert_eq!(write.path(), "/tmp/s/log/1");
    assert!(write.is_write() && write.is_durable_write() && !write.injected);
    assert_eq!((sync.path(), sync.value), ("/tmp/x", -1));
    assert!(sync.is_sync() && sync.injected);
}
