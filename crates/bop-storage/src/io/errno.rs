//! The kernel's error numbers that the engine knows by name.
//!
//! Never: spelled as a bare number anywhere else.

use rustix::io::Errno;

/// Operation not permitted.
pub const EPERM: i32 = Errno::PERM.raw_os_error();
/// No such file or directory.
pub const ENOENT: i32 = Errno::NOENT.raw_os_error();
/// Interrupted by a signal.
pub const EINTR: i32 = Errno::INTR.raw_os_error();
/// Input/output error.
pub const EIO: i32 = Errno::IO.raw_os_error();
/// The descriptor does not allow this.
pub const EBADF: i32 = Errno::BADF.raw_os_error();
/// Try again.
pub const EAGAIN: i32 = Errno::AGAIN.raw_os_error();
/// Busy.
pub const EBUSY: i32 = Errno::BUSY.raw_os_error();
/// Out of memory.
pub const ENOMEM: i32 = Errno::NOMEM.raw_os_error();
/// Permission denied.
pub const EACCES: i32 = Errno::ACCESS.raw_os_error();
/// The name is taken.
pub const EEXIST: i32 = Errno::EXIST.raw_os_error();
/// Not a directory.
pub const ENOTDIR: i32 = Errno::NOTDIR.raw_os_error();
/// Is a directory.
pub const EISDIR: i32 = Errno::ISDIR.raw_os_error();
/// Invalid argument.
pub const EINVAL: i32 = Errno::INVAL.raw_os_error();
/// Too many open files in the system.
pub const ENFILE: i32 = Errno::NFILE.raw_os_error();
/// Too many open files in this process.
pub const EMFILE: i32 = Errno::MFILE.raw_os_error();
/// The file would become too large.
pub const EFBIG: i32 = Errno::FBIG.raw_os_error();
/// No space on the device.
pub const ENOSPC: i32 = Errno::NOSPC.raw_os_error();
/// Read-only file system.
pub const EROFS: i32 = Errno::ROFS.raw_os_error();
/// The kernel does not have this call.
pub const ENOSYS: i32 = Errno::NOSYS.raw_os_error();
/// Too many symbolic links, or one where none is followed.
pub const ELOOP: i32 = Errno::LOOP.raw_os_error();
/// The file system cannot do this.
pub const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();
/// The other name is on another file system.
pub const EXDEV: i32 = Errno::XDEV.raw_os_error();
/// The file has as many names as it can have.
pub const EMLINK: i32 = Errno::MLINK.raw_os_error();
/// The user's share of the device is used up.
pub const EDQUOT: i32 = Errno::DQUOT.raw_os_error();
