//! Where the socket is, and who may come to it.
//!
//! `STORE/control/control.sock`, in a directory that is its owner's alone. The address of a socket has room for 108
//! bytes, and a path may be longer: it is named by way of the directory's descriptor, `/proc/self/fd/N/control.sock`.
//!
//! Invariants
//! - whoever binds has the store's lock, so a socket that is there already is nobody's;
//! - the kernel says who the peer is, not the peer.
//!
//! Never: follows a symbolic link to the directory, takes over a file that is no socket.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory in the store's.
pub const CONTROL_DIR: &str = "control";

/// The socket in it.
pub const SOCKET: &str = "control.sock";

/// Rights of the directory: its owner's alone.
const DIR_MODE: RawMode = 0o700;

/// The directory of a socket, held open.
#[derive(Debug)]
pub(crate) struct ControlDir(File);

impl ControlDir {
    /// The directory in the store at `store`, made if it is missing, and made its owner's alone.
    ///
    /// # Errors
    /// It is no directory, it is another user's, or the kernel refuses.
    pub(crate) fn prepare(store: &Path) -> io::Result<Self> {
        let path = store.join(CONTROL_DIR);
        match rustix::fs::mkdir(&path, Mode::from_raw_mode(DIR_MODE)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let dir = Self::open(store)?;
        let found = rustix::fs::fstat(&dir.0)?;
        if found.st_uid != own_uid() {
            let (path, uid) = (path.display(), found.st_uid);
            return Err(io::Error::other(format!(
                "{path} is the user's with id {uid}"
            )));
        }
        // It may be older than this program, or have been made with a wider mask.
        rustix::fs::fchmod(&dir.0, Mode::from_raw_mode(DIR_MODE))?;
        Ok(dir)
    }

    /// The directory, if it is there.
    ///
    /// # Errors
    /// It is not, or it is a link, or the kernel refuses.
    pub(crate) fn open(store: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(store.join(CONTROL_DIR), flags, Mode::empty())?;
        Ok(Self(opened.into()))
    }

    /// Listens. For whoever has the store's lock: a socket that nobody listens on was left by a process that
    /// ended, and one that somebody does is of another server of this one.
    ///
    /// # Errors
    /// There is something else of that name, or the kernel refuses.
    pub(crate) fn bind(&self) -> io::Result<UnixListener> {
        match rustix::fs::statat(&self.0, SOCKET, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Socket => {
                if self.connect().is_ok() {
                    return Err(io::Error::other("the store has a server already"));
                }
                rustix::fs::unlinkat(&self.0, SOCKET, AtFlags::empty())?;
            }
            Ok(_) => return Err(io::Error::other(format!("{SOCKET} is no socket"))),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        UnixListener::bind(self.address())
    }

    /// Takes the socket away. For whoever bound it, while he still has the store's lock.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, SOCKET, AtFlags::empty())?)
    }

    /// Connects to whoever listens.
    ///
    /// # Errors
    /// Nobody does.
    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.address())
    }

    /// The same, for at most so long: one who listens and accepts nobody has a queue, and it may be full.
    ///
    /// # Errors
    /// Nobody listens, or there was no place in the queue until then.
    pub(crate) fn connect_within(&self, patience: Duration) -> io::Result<UnixStream> {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
        use rustix::net::{connect, socket_with, sockopt};
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The kernel takes less than a microsecond for no limit.
        let patience = Some(patience.max(Duration::from_millis(1)));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, patience)?;
        connect(&socket, &SocketAddrUnix::new(self.address())?)?;
        Ok(socket.into())
    }

    fn address(&self) -> PathBuf {
        let fd = self.0.as_raw_fd();
        PathBuf::from(format!("/proc/self/fd/{fd}/{SOCKET}"))
    }
}

/// The user of this process.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Refuses a client that may not ask.
///
/// # Errors
/// Who it is, or the kernel does not say.
pub(crate) fn check_client(stream: &UnixStream) -> io::Result<()> {
    let client = peer_uid(stream)?;
    refuse_unless(may_ask(client, own_uid()), client)
}

/// Refuses a server that is somebody else's, unless root asks.
///
/// # Errors
/// Whose it is, or the kernel does not say.
pub(crate) fn check_server(stream: &UnixStream) -> io::Result<()> {
    let server = peer_uid(stream)?;
    refuse_unless(may_ask(own_uid(), server), server)
}

fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
}

/// An owner answers himself and root.
fn may_ask(client: u32, owner: u32) -> bool {
    client == owner || client == 0
}

fn refuse_unless(may: bool, peer: u32) -> io::Result<()> {
    if may {
        return Ok(());
    }
    let reason = format!("the peer is the user with id {peer}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

/// Whether the peer has not closed its end. What it may have sent stays to be read.
pub(crate) fn is_connected(stream: &UnixStream) -> bool {
    wait_while_connected(stream, Duration::ZERO)
}

/// Whether the peer has taken most of what was sent, so that a short message has room.
pub(crate) fn has_room(stream: &UnixStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut asked = [PollFd::new(stream, PollFlags::OUT)];
    let no_time = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut asked, Some(&no_time)), Ok(1)) && asked[0].revents() == PollFlags::OUT
}

/// Waits for so long, or until the peer closes its end or this one reads no more; `false` then.
pub(crate) fn wait_while_connected(stream: &UnixStream, time: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut asked = [PollFd::new(stream, PollFlags::RDHUP)];
    let time = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    match poll(&mut asked, Some(&time)) {
        Ok(_) => !asked[0].revents().intersects(gone),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_user_asks_himself_and_root_asks_everybody() {
        assert!(may_ask(1000, 1000) && may_ask(0, 1000) && may_ask(0, 0));
        assert!(!may_ask(1001, 1000) && !may_ask(1000, 0));
    }

    #[test]
    fn the_directory_is_its_owners_alone_whatever_it_was() {
        let store = tempfile::tempdir().unwrap();
        let path = store.path().join(CONTROL_DIR);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        ControlDir::prepare(store.path()).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }

    #[test]
    fn a_link_to_a_directory_is_refused() {
        let store = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), store.path().join(CONTROL_DIR)).unwrap();
        assert!(ControlDir::prepare(store.path()).is_err());
        assert!(ControlDir::open(store.path()).is_err());
    }

    #[test]
    fn one_who_accepts_nobody_is_not_waited_for() {
        let store = tempfile::tempdir().unwrap();
        let dir = ControlDir::prepare(store.path()).unwrap();
        let soon = Duration::from_millis(50);
        let nobody = dir.connect_within(soon).unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::NotFound);
        let listener = dir.bind().unwrap();
        // The shortest queue that there is.
        rustix::net::listen(&listener, 0).unwrap();
        let mut queued = Vec::new();
        let refused = loop {
            match dir.connect_within(soon) {
                Ok(stream) => queued.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        // It is the only one that waited in vain.
        assert!(!queued.is_empty());
        listener.accept().unwrap();
        dir.connect_within(soon).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let store = tempfile::tempdir().unwrap();
        let dir = ControlDir::prepare(store.path()).unwrap();
        let path = store.path().join(CONTROL_DIR).join(SOCKET);
        std::fs::write(&path, "mine").unwrap();
        assert!(dir.bind().is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_long_path_is_no_obstacle_and_a_socket_left_behind_is_replaced() {
        let store = tempfile::tempdir().unwrap();
        let deep = store.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let dir = ControlDir::prepare(&deep).unwrap();
        drop(dir.bind().unwrap());
        assert!(dir.connect().is_err(), "nobody listens any more");
        let listener = dir.bind().unwrap();
        let client = dir.connect().unwrap();
        let (server, _) = listener.accept().unwrap();
        assert!(check_client(&server).is_ok() && check_server(&client).is_ok());
        assert!(is_connected(&server) && has_room(&server));
        server.set_nonblocking(true).unwrap();
        while (&server).write(&[0; 1024]).is_ok() {}
        assert!(!has_room(&server), "nobody reads");
        drop(client);
        assert!(!is_connected(&server));
    }
}
