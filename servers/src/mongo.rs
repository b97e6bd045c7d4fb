//! A private MongoDB server: a replica set of one.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bson::doc;
use rustix::process::Signal;

use crate::binaries;
use crate::process::{Server, free_port, tail};
use crate::wire::mongo::{command, is_ok};
use crate::{Error, Result};

const READY_SECONDS: u64 = 60;

/// What a server shall be like.
#[derive(Clone, Debug, Default)]
pub struct MongoOptions {
    /// More arguments for `mongod`.
    pub arguments: Vec<String>,
}

/// A running MongoDB server on a free port of 127.0.0.1, the primary of the replica set `rs0`,
/// without access control. Its data are temporary. It stops when the value is dropped, and when
/// this process dies.
#[derive(Debug)]
pub struct Mongo {
    program: PathBuf,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    port: u16,
    server: Option<Server>,
}

impl Mongo {
    /// Starts a server and makes it the primary of its replica set.
    ///
    /// # Errors
    /// When `mongod` is not found, or does not start.
    pub fn start(options: MongoOptions) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("migrate-mongo-")
            .tempdir()
            .map_err(Error::file("make a folder in", std::env::temp_dir()))?;
        let data = folder.path().join("data");
        fs::create_dir(&data).map_err(Error::file("create", &data))?;
        let mut mongo = Self {
            program: binaries::mongod()?,
            folder,
            arguments: options.arguments,
            port: 0,
            server: None,
        };
        // Between the choice of a port and the server's own bind another process may take it.
        for _ in 0..3 {
            mongo.port = free_port()?;
            match mongo.launch() {
                Err(Error::Failed { output, .. }) if output.contains("Address already in use") => {}
                other => {
                    other?;
                    return mongo.initiate().map(|()| mongo);
                }
            }
        }
        mongo.port = free_port()?;
        mongo.launch()?;
        mongo.initiate().map(|()| mongo)
    }

    fn launch(&mut self) -> Result<()> {
        let log = self.folder.path().join("mongod.log");
        let mut start = Command::new(&self.program);
        start
            .args(["--replSet", "rs0", "--bind_ip", "127.0.0.1", "--nounixsocket", "--quiet"])
            .args(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256"])
            .args(["--setParameter", "diagnosticDataCollectionEnabled=false"])
            .arg("--port")
            .arg(self.port.to_string())
            .arg("--dbpath")
            .arg(self.folder.path().join("data"))
            .args(&self.arguments);
        let mut server = Server::spawn(start, &log, Signal::TERM, Some(self.folder.path()))?;
        let begin = Instant::now();
        while command(self.port, &doc! { "ping": 1, "$db": "admin" }).is_err() {
            if server.has_ended() {
                server.end(&[]);
                return Err(Error::Failed {
                    what: "the start of `mongod`".to_owned(),
                    output: tail(&log),
                });
            }
            self.check_time(begin, &mut server)?;
            std::thread::sleep(Duration::from_millis(20));
        }
        self.server = Some(server);
        Ok(())
    }

    fn check_time(&self, begin: Instant, server: &mut Server) -> Result<()> {
        if begin.elapsed() < Duration::from_secs(READY_SECONDS) {
            return Ok(());
        }
        server.end(&[Signal::KILL]);
        Err(Error::NotReady {
            what: "MongoDB",
            seconds: READY_SECONDS,
            output: tail(&self.folder.path().join("mongod.log")),
        })
    }

    fn initiate(&mut self) -> Result<()> {
        let host = format!("127.0.0.1:{}", self.port);
        let set = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": host }] };
        let answer = command(self.port, &doc! { "replSetInitiate": set, "$db": "admin" })?;
        if !is_ok(&answer) {
            return Err(Error::Refused {
                server: "MongoDB",
                command: "replSetInitiate".to_owned(),
                message: answer.get_str("errmsg").unwrap_or_default().to_owned(),
            });
        }
        self.await_primary()
    }

    fn await_primary(&mut self) -> Result<()> {
        let begin = Instant::now();
        let hello = doc! { "hello": 1, "$db": "admin" };
        loop {
            let answer = command(self.port, &hello)?;
            if answer.get_bool("isWritablePrimary").is_ok_and(|primary| primary) {
                return Ok(());
            }
            if let Some(mut server) = self.server.take() {
                self.check_time(begin, &mut server)?;
                self.server = Some(server);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The address of a database.
    pub fn uri(&self, database: &str) -> String {
        format!("mongodb://127.0.0.1:{}/{database}?replicaSet=rs0", self.port)
    }

    /// The port it listens on; the same after [`Mongo::restart`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        self.end(&[Signal::TERM, Signal::KILL]);
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.end(&[Signal::KILL]);
    }

    fn end(&mut self, signals: &[Signal]) {
        if let Some(mut server) = self.server.take() {
            server.end(signals);
        }
    }

    /// Stops it if it runs, and starts it again on the same data and port; it is the primary
    /// again when this returns.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.launch()?;
        self.await_primary()
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        // Its data are thrown away with it, so it need not write them out.
        self.kill();
    }
}
