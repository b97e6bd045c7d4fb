//! Sends small messages at once.
//!
//! The driver leaves Nagle's algorithm on, and the end of a COPY is several small messages in a
//! row without an answer in between: each COPY would end with waiting for the server's delayed
//! acknowledgement, which is 40 ms. The driver does not give its socket away either, so it is
//! looked up among those of this process. Where that is not possible (another system than Linux,
//! or a sandbox that forbids it) a COPY just takes that much longer.

use std::net::SocketAddr;

use rustix::io::{Errno, Result};
use rustix::net::{getpeername, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Turns the delay off for every TCP connection of this process to that port.
pub(super) fn set(port: u16) {
    if let Err(error) = try_set(port) {
        tracing::debug!(%error, "the sockets of this process cannot be looked up");
    }
}

fn try_set(port: u16) -> Result<()> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let Ok(files) = std::fs::read_dir("/proc/self/fd") else { return Ok(()) };
    for file in files.flatten() {
        let target = std::fs::read_link(file.path()).unwrap_or_default();
        if !target.to_string_lossy().starts_with("socket:") {
            continue;
        }
        let Some(number) = file.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A duplicate is ours alone: whoever else closes the socket meanwhile does no harm.
        let socket = match pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) {
            // Closed since the folder was read.
            Err(Errno::BADF) => continue,
            socket => socket?,
        };
        let peer = getpeername(&socket).ok().flatten();
        let peer = peer.and_then(|address| SocketAddr::try_from(address).ok());
        if peer.is_some_and(|peer| peer.port() == port) {
            sockopt::set_tcp_nodelay(&socket, true)?;
        }
    }
    Ok(())
}
