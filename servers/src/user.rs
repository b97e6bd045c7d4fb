//! PostgreSQL refuses to run as root; this picks the user that it runs as in that case.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::{Error, Result};

/// An unprivileged user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

/// The numbers of `nobody` where `/etc/passwd` does not say.
const NOBODY: User = User { uid: 65534, gid: 65534 };

impl User {
    /// The user to become, or `None` when the process is not root and may stay what it is.
    pub(crate) fn for_server() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let found = ["postgres", "nobody"].into_iter().find_map(|name| parse_passwd(&passwd, name));
        Some(found.unwrap_or(NOBODY))
    }

    /// Gives the user a file or folder.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(Error::file("give away", path))
    }

    /// A command that runs `program` as this user on the files in `home`.
    ///
    /// Where a folder on the way to `home` is closed to others, as `/root` mostly is, the process
    /// keeps root's right to pass through it, and no other right of root. The program itself must
    /// be in an open place, because PostgreSQL asks with `access`, which knows no such rights.
    pub(crate) fn command(self, program: &Path, home: &Path) -> Result<Command> {
        if !self.can_reach(program) {
            let source = io::Error::other(
                "PostgreSQL refuses to run as root, and a folder on the way is closed to others: put it elsewhere",
            );
            return Err(Error::File {
                act: "run as an unprivileged user",
                path: program.to_owned(),
                source,
            });
        }
        if self.can_reach(home) {
            let mut command = Command::new(program);
            command.uid(self.uid).gid(self.gid);
            return Ok(command);
        }
        let mut words = self.prefix(home).into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg(program);
        Ok(command)
    }

    /// The words that a shell needs before a command to run it so.
    pub(crate) fn prefix(self, home: &Path) -> Vec<String> {
        let mut words = vec![
            "setpriv".to_owned(),
            format!("--reuid={}", self.uid),
            format!("--regid={}", self.gid),
            "--clear-groups".to_owned(),
        ];
        if !self.can_reach(home) {
            words.push("--inh-caps=+dac_override,+dac_read_search".to_owned());
            words.push("--ambient-caps=+dac_override,+dac_read_search".to_owned());
        }
        words.push("--".to_owned());
        words
    }

    /// Whether others may pass through every folder on the way to `path`, which need not be there.
    pub(crate) fn can_reach(self, path: &Path) -> bool {
        path.ancestors().skip(1).all(|folder| match fs::metadata(folder) {
            Ok(facts) => {
                facts.mode() & 0o001 != 0 || (facts.uid() == self.uid && facts.mode() & 0o100 != 0)
            }
            Err(_) => true,
        })
    }
}

fn parse_passwd(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        if parts.next()? != name {
            return None;
        }
        let uid = parts.nth(1)?.parse().ok()?;
        let gid = parts.next()?.parse().ok()?;
        Some(User { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:7:8::/:\npostgres:x:104:111:,,,:/var:/bin/bash\n";
        assert_eq!(parse_passwd(passwd, "postgres"), Some(User { uid: 104, gid: 111 }));
        assert_eq!(parse_passwd(passwd, "nobody"), None);
    }
}
