//! Socket options that the driver leaves out: small messages go at once, and a host that vanishes
//! is noticed.
//!
//! The driver leaves Nagle's algorithm on, and the end of a COPY is several small messages in a
//! row without an answer in between: each COPY would end with waiting for the server's delayed
//! acknowledgement, which is 40 ms. And a host that is gone without a word would be waited for
//! as long as the system likes, which is hours where nothing is sent.
//!
//! The driver does not give its socket away, so it is looked up among those of this process. Where
//! that is not possible (another system than Linux, or a sandbox that forbids it) a COPY takes
//! longer, and a lost host is noticed by the watch over the sessions alone.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::{Errno, Result};
use rustix::net::{getpeername, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// How long a host may leave bytes of ours without an acknowledgement, or without room for more. A
/// server that is alive and busy with its disk needs some patience.
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);
/// When nothing is sent, the host is asked after so long, and again after so long, so often.
const IDLE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_secs(10);
const TIMES: u32 = 6;

/// Sets the options for every TCP connection of this process to that port.
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
            sockopt::set_socket_keepalive(&socket, true)?;
            sockopt::set_tcp_keepidle(&socket, IDLE)?;
            sockopt::set_tcp_keepintvl(&socket, AGAIN)?;
            sockopt::set_tcp_keepcnt(&socket, TIMES)?;
            sockopt::set_tcp_user_timeout(&socket, UNACKNOWLEDGED.as_millis() as u32)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_options_are_set_on_connections_to_that_port_alone() {
        let [meant, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let connect =
            |listener: &TcpListener| TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, stranger) = (connect(&meant), connect(&other));
        set(meant.local_addr().unwrap().port());
        assert!(sockopt::tcp_nodelay(&socket).unwrap());
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), IDLE);
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 120_000);
        assert!(!sockopt::tcp_nodelay(&stranger).unwrap());
        assert!(!sockopt::socket_keepalive(&stranger).unwrap());
    }
}
