//! A private PostgreSQL server.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::binaries::{self, PostgresBinaries};
use crate::process::{Server, free_port, tail, tail_of};
use crate::user::User;
use crate::wire::postgres::{Row, Session, query};
use crate::{Error, Result};

const SUPERUSER: &str = "postgres";
const READY_SECONDS: u64 = 60;

/// What a server shall be like.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// The major version; `None` takes the newest that is on the machine.
    pub version: Option<u32>,
    /// The folder for its data, its log and its password; made if it is not there, and refused if
    /// it has something in it. `None` takes a temporary one, which goes with the server.
    pub folder: Option<PathBuf>,
    /// Waits for the disk at each commit. Off by default: the data of such a server need not
    /// outlive a power failure. They outlive the death of any process either way.
    pub durable: bool,
    /// More settings, as in `("max_connections", "20")`.
    pub settings: Vec<(String, String)>,
}

/// A running PostgreSQL server on a free port of 127.0.0.1, with a password that only this value
/// knows. It stops when the value is dropped, and when this process dies.
#[derive(Debug)]
pub struct Postgres {
    binaries: PostgresBinaries,
    home: Home,
    user: Option<User>,
    settings: Vec<String>,
    password: String,
    port: u16,
    server: Option<Server>,
}

/// The folder that holds a server's files.
#[derive(Debug)]
enum Home {
    Temporary(tempfile::TempDir),
    Given(PathBuf),
}

impl Home {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Given(folder) => folder,
        }
    }
}

impl Postgres {
    /// Makes a cluster and starts a server on it; it answers when this returns.
    ///
    /// # Errors
    /// When PostgreSQL is not found, the folder cannot be used or has something in it, or the
    /// server does not start.
    pub fn start(options: PostgresOptions) -> Result<Self> {
        let binaries = binaries::postgres(options.version)?;
        let user = User::for_server();
        let home = match options.folder {
            Some(folder) => Home::Given(prepare_folder(&folder)?),
            None => Home::Temporary(
                tempfile::Builder::new()
                    .prefix("migrate-postgres-")
                    .tempdir()
                    .map_err(Error::file("make a folder in", std::env::temp_dir()))?,
            ),
        };
        if let Some(user) = user {
            user.own(home.path())?;
        }
        let mut settings = Vec::new();
        let mut set = |name: &str, value: &str| settings.push(format!("{name}={value}"));
        set("listen_addresses", "127.0.0.1");
        set("unix_socket_directories", "");
        set("log_timezone", "UTC");
        set("timezone", "UTC");
        if !options.durable {
            set("fsync", "off");
            set("full_page_writes", "off");
        }
        for (name, value) in &options.settings {
            set(name, value);
        }
        let mut postgres = Self {
            binaries,
            home,
            user,
            settings,
            password: random_password()?,
            port: 0,
            server: None,
        };
        postgres.init()?;
        // Between the choice of a port and the server's own bind another process may take it.
        for _ in 0..3 {
            postgres.port = free_port()?;
            match postgres.launch() {
                Err(Error::Failed { output, .. }) if output.contains("could not bind") => {}
                other => return other.map(|()| postgres),
            }
        }
        postgres.port = free_port()?;
        postgres.launch().map(|()| postgres)
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("postgres.log")
    }

    fn command(&self, program: &str) -> Result<Command> {
        let program = self.binaries.folder.join(program);
        let mut command = match self.user {
            Some(user) => user.command(&program, self.home.path())?,
            None => Command::new(&program),
        };
        // `PGDATA` and its like would change what the programs do.
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("LC_ALL", "C")
            .current_dir(self.home.path());
        Ok(command)
    }

    fn init(&self) -> Result<()> {
        let password = self.home.path().join("password");
        fs::write(&password, &self.password).map_err(Error::file("write", &password))?;
        restrict(&password)?;
        if let Some(user) = self.user {
            user.own(&password)?;
        }
        let output = self
            .command("initdb")?
            .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=password"])
            .arg(format!("--username={SUPERUSER}"))
            .arg(format!("--pwfile={}", password.display()))
            .arg(format!("--pgdata={}", self.data().display()))
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Spawn { program: "initdb".to_owned(), source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            what: "`initdb`".to_owned(),
            output: tail_of(&String::from_utf8_lossy(&output.stderr)),
        })
    }

    fn launch(&mut self) -> Result<()> {
        let log = self.log();
        // The end of an older log must not be taken for the reason of a new failure.
        let _ = fs::remove_file(&log);
        let mut command = self.command("postgres")?;
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        for setting in &self.settings {
            command.arg("-c").arg(setting);
        }
        let remove = match &self.home {
            Home::Temporary(folder) => Some(folder.path()),
            Home::Given(_) => None,
        };
        let mut server = Server::spawn(command, &log, Signal::INT, remove)?;
        let begin = Instant::now();
        while !self.is_ready(server.pid()) {
            if server.has_ended() {
                server.end(&[]);
                return Err(Error::Failed {
                    what: "the start of PostgreSQL".to_owned(),
                    output: tail(&log),
                });
            }
            if begin.elapsed() > Duration::from_secs(READY_SECONDS) {
                server.end(&[Signal::QUIT, Signal::KILL]);
                return Err(Error::NotReady {
                    what: "PostgreSQL",
                    seconds: READY_SECONDS,
                    output: tail(&log),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.server = Some(server);
        Ok(())
    }

    /// The server says in the last line of `postmaster.pid` whether it takes connections; the
    /// first line tells this server's file from that of one that was killed.
    fn is_ready(&self, pid: u32) -> bool {
        let Ok(text) = fs::read_to_string(self.data().join("postmaster.pid")) else { return false };
        let mut lines = text.lines();
        lines.next().is_some_and(|line| line.trim() == pid.to_string())
            && lines.last().is_some_and(|line| line.trim() == "ready")
    }

    /// The address of a database, with user and password.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}:{}@127.0.0.1:{}/{}",
            self.password,
            self.port,
            percent_encode(database)
        )
    }

    /// Makes a database and gives its address back.
    ///
    /// # Errors
    /// When there is one of that name, or the server is not running.
    pub fn create_database(&self, name: &str) -> Result<String> {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        self.query("postgres", &format!("CREATE DATABASE {quoted}"))?;
        Ok(self.url(name))
    }

    /// Runs one statement and gives its rows back in text form.
    ///
    /// # Errors
    /// When the server refuses it or is not running.
    pub fn query(&self, database: &str, sql: &str) -> Result<Vec<Row>> {
        query(self.port, SUPERUSER, &self.password, database, sql)
    }

    /// Opens a connection for one statement after another.
    ///
    /// # Errors
    /// When there is no such database, or the server is not running.
    pub fn session(&self, database: &str) -> Result<Session> {
        Session::open(self.port, SUPERUSER, &self.password, database)
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        self.binaries.major
    }

    /// The folder that holds `postgres`, and mostly `psql`.
    pub fn binaries(&self) -> &Path {
        &self.binaries.folder
    }

    /// The port it listens on; the same after [`Postgres::restart`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder with its data, its log and its password.
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// Stops it in order; nothing that was committed is lost.
    pub fn stop(&mut self) {
        self.end(&[Signal::INT, Signal::QUIT, Signal::KILL]);
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

    /// Stops it if it runs, and starts it again on the same data and port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        // The processes of a killed server need a moment to notice, and until then their shared
        // memory keeps the data from being used again.
        let begin = Instant::now();
        loop {
            match self.launch() {
                Err(Error::Failed { output, .. })
                    if (output.contains("shared memory") || output.contains("could not bind"))
                        && begin.elapsed() < Duration::from_secs(20) =>
                {
                    std::thread::sleep(Duration::from_millis(50));
                }
                other => return other,
            }
        }
    }

    /// Lets the server run on after this process, with its folder, which then has two scripts:
    /// `stop`, and `start` for the time after. They keep the port and the password.
    ///
    /// # Errors
    /// When a script cannot be written.
    pub fn keep(mut self) -> Result<PathBuf> {
        let folder = self.home.path().to_owned();
        let settings: String = (self.settings.iter())
            .chain([&format!("port={}", self.port)])
            .filter_map(|setting| setting.split_once('='))
            .map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")))
            .collect();
        let file = self.data().join("postgresql.conf");
        fs::File::options()
            .append(true)
            .open(&file)
            .and_then(|mut file| file.write_all(settings.as_bytes()))
            .map_err(Error::file("write", &file))?;
        if let Some(user) = self.user {
            user.own(&self.log())?;
        }
        let mut words = self.user.map(|user| user.prefix(&folder)).unwrap_or_default();
        words.push(self.binaries.folder.join("pg_ctl").display().to_string());
        words.extend(["-D".to_owned(), self.data().display().to_string()]);
        words.extend(["-l".to_owned(), self.log().display().to_string()]);
        let command: Vec<String> =
            words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
        let home = format!("'{}'", folder.display().to_string().replace('\'', "'\\''"));
        for (name, rest) in [("start", "start"), ("stop", "-m fast stop")] {
            let path = folder.join(name);
            let text = format!("#!/bin/sh\ncd {home} && exec {} {rest}\n", command.join(" "));
            fs::write(&path, text).map_err(Error::file("write", &path))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(Error::file("make executable", &path))?;
        }
        if let Home::Temporary(home) =
            std::mem::replace(&mut self.home, Home::Given(folder.clone()))
        {
            let _ = home.keep();
        }
        if let Some(server) = self.server.take() {
            server.detach();
        }
        Ok(folder)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        match self.home {
            // Nobody will read these data again, so nothing is flushed.
            Home::Temporary(_) => self.end(&[Signal::QUIT, Signal::KILL]),
            Home::Given(_) => self.stop(),
        }
    }
}

fn prepare_folder(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let folder = fs::canonicalize(folder).map_err(Error::file("open", folder))?;
    let mut entries = fs::read_dir(&folder).map_err(Error::file("open", &folder))?;
    if entries.next().is_some() {
        let source = std::io::Error::other("it has something in it; name a new or empty folder");
        return Err(Error::File { act: "make a server in", path: folder, source });
    }
    Ok(folder)
}

fn restrict(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(Error::file("protect", path))
}

fn random_password() -> Result<String> {
    let random = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    fs::File::open(random)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(Error::file("read", random))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn percent_encode(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                (byte as char).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_name_is_safe_in_an_address() {
        assert_eq!(percent_encode("crm_1"), "crm_1");
        assert_eq!(percent_encode("a b/ü"), "a%20b%2F%C3%BC");
    }
}
