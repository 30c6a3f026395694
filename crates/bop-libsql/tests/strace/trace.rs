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
    /// The file of the descriptor that it returned.
    pub(crate) answered: String,
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
            .filter(|(_, behind)| !behind.starts_with("(deleted"))
            .map_or("", |(path, _)| path)
    }

    /// The descriptor that is its first argument.
    pub(crate) fn fd(&self) -> i64 {
        let number = self.arguments.split('<').next().unwrap_or_default();
        number.parse().unwrap_or(-1)
    }

    /// Its arguments, as strace wrote them.
    fn list(&self) -> Vec<&str> {
        let (mut from, mut depth, mut in_quotes, mut escaped) = (0, 0, false, false);
        let mut list = Vec::new();
        for (at, byte) in self.arguments.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_quotes = !in_quotes,
                _ if in_quotes => {}
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                b',' if depth == 0 => {
                    list.push(self.arguments[from..at].trim());
                    from = at + 1;
                }
                _ => {}
            }
        }
        list.push(self.arguments[from..].trim());
        list
    }

    /// The number that is its argument `nth`, from 0.
    pub(crate) fn number(&self, nth: usize) -> u64 {
        let number = self.list()[nth].parse();
        number.unwrap_or_else(|_| panic!("argument {nth} is no number: {self:?}"))
    }

    /// The names among its arguments, each with the directory that it is looked for in.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        let mut dir = String::new();
        let mut names = Vec::new();
        for argument in self.list() {
            if argument.starts_with('"') {
                let name = String::from_utf8(unescaped(argument)).unwrap();
                names.push((std::mem::take(&mut dir), name));
            } else if let Some((_, rest)) = argument.split_once('<') {
                dir = rest.trim_end_matches('>').to_owned();
            }
        }
        names
    }

    /// What a write wrote, or was to write.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let list = self.list();
        let parts = list[1].match_indices("iov_base=");
        let parts: Vec<_> = parts.map(|(at, key)| &list[1][at + key.len()..]).collect();
        match parts[..] {
            [] => unescaped(list[1]),
            _ => parts.into_iter().flat_map(unescaped).collect(),
        }
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

/// The bytes of the string in quotes that `text` begins with.
fn unescaped(text: &str) -> Vec<u8> {
    let mut left = text.strip_prefix('"').unwrap().bytes().peekable();
    let mut bytes = Vec::new();
    loop {
        let byte = left.next().unwrap();
        bytes.push(match byte {
            b'"' => break,
            b'\\' => match left.next().unwrap() {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'v' => 0x0b,
                b'f' => 0x0c,
                digit @ b'0'..=b'7' => {
                    let mut value = u32::from(digit - b'0');
                    for _ in 0..2 {
                        let next = left.next_if(|next| (b'0'..=b'7').contains(next));
                        let Some(next) = next else { break };
                        value = value * 8 + u32::from(next - b'0');
                    }
                    u8::try_from(value).unwrap()
                }
                other => other,
            },
            other => other,
        });
    }
    assert_ne!(left.next(), Some(b'.'), "strace cut a string off");
    bytes
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
    let answered = answer
        .split_once('<')
        .and_then(|(_, rest)| rest.rsplit_once('>'));
    let answered = answered.map_or_else(String::new, |(path, _)| path.to_owned());
    Some(Call {
        name: name.to_owned(),
        arguments: arguments.trim_end().trim_end_matches(')').to_owned(),
        began,
        returned,
        value,
        answered,
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

#[test]
fn what_a_call_wrote_and_where_is_read_from_its_arguments() {
    let calls = parse(
        r#"1  pwrite64(4</s/a>, "a\"b\\\0\0001\201\n", 8, 4096) = 8
1  pwritev2(4</s/a>, [{iov_base="x, y", iov_len=4}, {iov_base="]", iov_len=1}], 2, 512, 0) = 5
1  renameat2(3</s>, "a", 5</s/log>, "b, c", RENAME_NOREPLACE) = 0
1  fsync(4</s/log/b, c>(deleted)) = 0
1  openat(3</s>, "d", O_RDWR|O_CREAT, 0600) = 7</s/d>
"#,
    );
    assert_eq!(
        (calls[0].bytes(), calls[0].number(3)),
        (b"a\"b\\\0\x001\x81\n".to_vec(), 4096)
    );
    assert_eq!(
        (calls[1].bytes(), calls[1].number(3)),
        (b"x, y]".to_vec(), 512)
    );
    let pair = |dir: &str, name: &str| (dir.to_owned(), name.to_owned());
    assert_eq!(calls[2].names(), [pair("/s", "a"), pair("/s/log", "b, c")]);
    assert_eq!((calls[3].path(), calls[3].fd()), ("", 4));
    assert_eq!((calls[4].value, calls[4].answered.as_str()), (7, "/s/d"));
}
