//! Handing an open descriptor to another process (SCM_RIGHTS).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::error::LabError;

/// Sends `fd` with a one-byte message.
///
/// # Errors
/// The socket is closed, or is no Unix socket.
pub fn send_fd(socket: impl AsFd, fd: impl AsFd) -> Result<(), LabError> {
    let fds = [fd.as_fd().as_raw_fd()];
    let control = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(
        socket.as_fd().as_raw_fd(),
        &[IoSlice::new(b"\0")],
        &control,
        MsgFlags::empty(),
        None,
    )
    .map(drop)
    .map_err(LabError::system("pass on a connection"))
}

/// Receives what [`send_fd`] sent.
pub fn receive_fd(socket: &UnixStream) -> Result<OwnedFd, LabError> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .map_err(LabError::system("take over a connection"))?;
    let control = message
        .cmsgs()
        .map_err(LabError::system("take over a connection"))?;
    for part in control {
        if let ControlMessageOwned::ScmRights(fds) = part
            && let Some(fd) = fds.first()
        {
            // SAFETY: the kernel has just installed this descriptor for us alone.
            #[expect(unsafe_code, reason = "SCM_RIGHTS delivers descriptors as numbers")]
            return Ok(unsafe { OwnedFd::from_raw_fd(*fd) });
        }
    }
    Err(LabError::Daemon(
        "no connection came with the answer".into(),
    ))
}
