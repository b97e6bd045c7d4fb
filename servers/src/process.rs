//! A server process that cannot outlive us: ended when its value is dropped, and by a watcher when
//! this process dies without dropping anything.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Error, Result};

/// Waits for the end of its standard input. A line means that all is well; an end without a line
/// means that the process that held the other side is dead, and so must the server be.
const WATCHER: &str = r#"
read -r line && exit 0
kill -s "$1" "$2" 2>/dev/null
tries=0
while kill -0 "$2" 2>/dev/null && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -s KILL "$2" 2>/dev/null
[ -z "$3" ] || rm -rf -- "$3"
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    watcher: Option<Child>,
    line: Option<ChildStdin>,
}

impl Server {
    /// Starts `command` with its output appended to `log`. When this process dies, the watcher
    /// sends it `signal` and removes `remove` once it has ended.
    pub(crate) fn spawn(
        mut command: Command,
        log: &Path,
        signal: Signal,
        remove: Option<&Path>,
    ) -> Result<Self> {
        let open = || fs::File::options().create(true).append(true).open(log);
        let output = open().map_err(Error::file("open", log))?;
        let errors = open().map_err(Error::file("open", log))?;
        // Groups of their own, so that Ctrl-C on the terminal reaches only the program that
        // started them, which then ends them in order.
        command.process_group(0).stdin(Stdio::null()).stdout(output).stderr(errors);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|source| Error::Spawn { program, source })?;
        let watcher = Command::new("/bin/sh")
            .args(["-c", WATCHER, "watcher", signal_name(signal)])
            .arg(child.id().to_string())
            .arg(remove.unwrap_or(Path::new("")))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut server = Self { child, watcher: None, line: None };
        let mut watcher = match watcher {
            Ok(watcher) => watcher,
            Err(source) => {
                server.end(&[Signal::KILL]);
                return Err(Error::Spawn { program: "/bin/sh".to_owned(), source });
            }
        };
        server.line = watcher.stdin.take();
        server.watcher = Some(watcher);
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Sends the signals one after the other, ten seconds apart, until the server has ended.
    pub(crate) fn end(&mut self, signals: &[Signal]) {
        for signal in signals {
            if self.has_ended() {
                break;
            }
            if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
                // It may have ended a moment ago: then there is nobody to tell.
                let _ = kill_process(pid, *signal);
            }
            let begin = Instant::now();
            while !self.has_ended() && begin.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        self.dismiss();
    }

    /// Lets the server live on after this process.
    pub(crate) fn detach(mut self) {
        self.dismiss();
    }

    fn dismiss(&mut self) {
        if let Some(mut line) = self.line.take() {
            let _ = line.write_all(b"done\n");
        }
        if let Some(mut watcher) = self.watcher.take() {
            let _ = watcher.wait();
        }
    }
}

fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::INT => "INT",
        Signal::QUIT => "QUIT",
        Signal::KILL => "KILL",
        _ => "TERM",
    }
}

/// The last lines of a log, for an error.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    tail_of(&String::from_utf8_lossy(&text))
}

/// The last lines of a text.
pub(crate) fn tail_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// A port of 127.0.0.1 that nobody listens on at this moment.
pub(crate) fn free_port() -> Result<u16> {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Connection { server: "the loopback interface", source })
}
