//! Where a command writes many lines: stdout, or a file that nobody else may read.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use migrate_core::{Error, ErrorKind};

/// A file, or stdout.
pub(super) struct Out {
    writer: BufWriter<Box<dyn Write>>,
    name: String,
    failure: Option<io::Error>,
}

impl Out {
    /// Opens the file, or stdout when there is none.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else {
            let writer = BufWriter::new(Box::new(io::stdout()) as Box<dyn Write>);
            return Ok(Self { writer, name: "stdout".to_owned(), failure: None });
        };
        let name = format!("`{}`", path.display());
        let open = || {
            let file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            // One that was there keeps its mode otherwise.
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            Ok(file)
        };
        let file = open().map_err(|error: io::Error| {
            Error::new(ErrorKind::File, format!("cannot write {name}")).caused_by(error)
        })?;
        Ok(Self { writer: BufWriter::new(Box::new(file)), name, failure: None })
    }

    /// Writes a line; false when nobody takes any more.
    pub(super) fn line(&mut self, line: &str) -> bool {
        let written = self.writer.write_all(line.as_bytes());
        match written.and_then(|()| self.writer.write_all(b"\n")) {
            Ok(()) => true,
            Err(error) => {
                self.failure = Some(error);
                false
            }
        }
    }

    /// Ends the output. Whoever reads may have gone, as `head` does; that is no failure of ours.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let failure = self.failure.take().or_else(|| self.writer.flush().err());
        match failure {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::new(ErrorKind::File, format!("cannot write {}", self.name))
                    .caused_by(error))
            }
            _ => Ok(()),
        }
    }
}
