//! Flags, environment and file resolved into one value: a flag beats the environment, the
//! environment beats `migrate.toml`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use migrate_core::budget;
use migrate_core::run::{Options, UuidVersion};
use migrate_core::source::Limits;
use migrate_core::upkeep::Analyze;
use migrate_core::validate::{Request, Sample};
use migrate_core::{Error, ErrorKind};

use crate::address;
use crate::cli::{
    AnalyzeKind, ByteSize, Global, MemoryArgs, ProgressKind, Run, StateArgs, UuidKind, Validate,
};

const FILE: &str = "migrate.toml";
/// A transaction for each document would take days.
const SMALLEST_CHUNK: u64 = 4 << 10;

/// What `migrate.toml` may say.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    source: Option<String>,
    target: Option<String>,
    jobs: Option<u16>,
    uuid: Option<UuidKind>,
    analyze: Option<AnalyzeKind>,
    schema: Option<String>,
    state_schema: Option<String>,
    chunk_bytes: Option<ByteSize>,
    patience: Option<u32>,
    sort_memory: Option<ByteSize>,
    memory: Option<ByteSize>,
    files: Option<PathBuf>,
    progress: Option<ProgressKind>,
}

impl File {
    /// Reads the file that was named, or `migrate.toml` where there is one.
    pub(crate) fn load(global: &Global) -> Result<Self, Error> {
        let path = match &global.config {
            Some(path) => path.as_path(),
            None if Path::new(FILE).exists() => Path::new(FILE),
            None => return Ok(Self::default()),
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(ErrorKind::Usage, format!("cannot read `{}`", path.display()))
                .caused_by(error)
        })?;
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            // The error's own text shows the line, which may hold a password.
            let line = error
                .span()
                .map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let place = line.map_or_else(String::new, |line| format!(", line {line}"));
            Error::new(ErrorKind::Usage, format!("`{}` is not valid{place}", path.display()))
                .caused_by(error.message().to_owned())
        })
    }

    /// The target, or an error that says how to name one.
    pub(crate) fn target(&self, flag: Option<String>) -> Result<String, Error> {
        named(flag, &self.target, "target", "MIGRATE_TARGET", "postgres://USER@HOST/DATABASE")
    }

    /// The source, or an error that says how to name one.
    pub(crate) fn source(&self, flag: Option<String>) -> Result<String, Error> {
        named(flag, &self.source, "source", "MIGRATE_SOURCE", "mongodb://HOST/DATABASE")
    }

    /// The target that holds a run, and the options with which it is found.
    pub(crate) fn state(&self, flags: StateArgs) -> Result<(String, Options), Error> {
        let defaults = Options::default();
        let options = Options {
            schema: self.schema(None),
            state_schema: flags.state_schema.unwrap_or_else(|| self.state_schema()),
            ..defaults
        };
        Ok((self.target(flags.target)?, options))
    }

    /// How much memory the process may take.
    fn memory(&self, flag: MemoryArgs) -> Result<u64, Error> {
        let bytes = match flag.memory.or(self.memory) {
            Some(ByteSize(bytes)) => bytes,
            None => budget::DEFAULT_BYTES,
        };
        if bytes < budget::LEAST_BYTES {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("a memory of less than {} MB cannot be kept", budget::LEAST_BYTES / 1_000_000),
            )
            .with_hint("a document may have 16 MB and is there several times on its way: leave `--memory` out, or take more"));
        }
        Ok(bytes)
    }

    /// The folder of the files for people.
    pub(crate) fn files(&self) -> PathBuf {
        self.files.clone().unwrap_or_else(|| ".".into())
    }

    /// The schema of the runs' own tables.
    pub(crate) fn state_schema(&self) -> String {
        self.state_schema.clone().unwrap_or_else(|| Options::default().state_schema)
    }

    /// The schema of models that name none.
    pub(crate) fn schema(&self, flag: Option<String>) -> String {
        flag.or_else(|| self.schema.clone()).unwrap_or_else(|| Options::default().schema)
    }
}

/// Everything that a run needs.
pub(crate) struct RunSettings {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) options: Options,
    pub(crate) summary: Option<PathBuf>,
    pub(crate) files: PathBuf,
    pub(crate) yes: bool,
    pub(crate) dry_run: bool,
    pub(crate) validate: bool,
    pub(crate) progress: ProgressKind,
    pub(crate) limits: Limits,
}

impl RunSettings {
    pub(crate) fn new(run: Run, file: File) -> Result<Self, Error> {
        let source = file.source(run.source.source)?;
        let target = file.target(run.target.target)?;
        let schema = file.schema(run.target.schema);
        let defaults = Options::default();
        let memory_bytes = file.memory(run.memory)?;
        let chunk_bytes = run.chunk_bytes.or(file.chunk_bytes).map(|size| size.0);
        if chunk_bytes.is_some_and(|bytes| bytes < SMALLEST_CHUNK) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("chunks of less than {} KiB are not loaded", SMALLEST_CHUNK >> 10),
            )
            .with_hint(
                "each is a transaction of its own: leave `--chunk-bytes` out, or take some MiB",
            ));
        }
        let uuid = match run.uuid.or(file.uuid) {
            Some(UuidKind::V8) => UuidVersion::V8,
            Some(UuidKind::V7) => UuidVersion::V7,
            Some(UuidKind::Random) => UuidVersion::Random,
            None => defaults.uuid,
        };
        Ok(Self {
            source,
            target,
            options: Options {
                jobs: run.jobs.or(file.jobs).map_or(defaults.jobs, usize::from),
                uuid,
                schema,
                state_schema: (run.target.state_schema)
                    .or(file.state_schema)
                    .unwrap_or(defaults.state_schema),
                chunk_bytes: chunk_bytes.unwrap_or(defaults.chunk_bytes),
                clean: run.clean,
                only: run.only,
                append: run.append,
                keep_constraints: run.keep_constraints,
                analyze: match run.analyze.or(file.analyze) {
                    Some(AnalyzeKind::Quick) => Analyze::Quick,
                    Some(AnalyzeKind::Full) => Analyze::Full,
                    Some(AnalyzeKind::Off) => Analyze::Off,
                    None => defaults.analyze,
                },
                memory_bytes,
                patience: (run.patience.or(file.patience))
                    .map_or(defaults.patience, |seconds| Duration::from_secs(seconds.into())),
                sort_bytes: (run.sort_memory)
                    .or(file.sort_memory)
                    .map_or(defaults.sort_bytes, |size| size.0),
                ..defaults
            },
            summary: run.summary,
            files: run.files.or(file.files).unwrap_or_else(|| ".".into()),
            yes: run.yes,
            dry_run: run.dry_run,
            validate: !run.no_validate,
            progress: run.progress.or(file.progress).unwrap_or(ProgressKind::Auto),
            limits: run.pace.limits(),
        })
    }
}

impl fmt::Debug for RunSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunSettings")
            .field("source", &address::redact(&self.source))
            .field("target", &address::redact(&self.target))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Everything that a validation needs.
pub(crate) struct ValidateSettings {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) options: Options,
    pub(crate) request: Request,
    pub(crate) repair: bool,
    pub(crate) yes: bool,
    pub(crate) progress: ProgressKind,
    pub(crate) json: bool,
    pub(crate) files: PathBuf,
    pub(crate) limits: Limits,
}

impl ValidateSettings {
    pub(crate) fn new(validate: Validate, file: File) -> Result<Self, Error> {
        let target = file.target(validate.target.target)?;
        let schema = file.schema(validate.target.schema);
        let memory_bytes = file.memory(validate.memory)?;
        let defaults = Options::default();
        Ok(Self {
            source: named(
                validate.source.source,
                &file.source,
                "source",
                "MIGRATE_SOURCE",
                "mongodb://HOST/DATABASE",
            )?,
            target,
            options: Options {
                jobs: validate.jobs.or(file.jobs).map_or(defaults.jobs, usize::from),
                memory_bytes,
                schema,
                state_schema: validate
                    .target
                    .state_schema
                    .or(file.state_schema)
                    .unwrap_or(defaults.state_schema),
                ..defaults
            },
            request: Request {
                tables: validate.table,
                since: validate.since,
                independent: validate.independent,
                sample: validate.sample.map(|rows| Sample {
                    rows: rows.into(),
                    seed: validate.seed.unwrap_or_else(any_seed),
                }),
            },
            repair: validate.repair,
            yes: validate.yes,
            progress: validate.progress.or(file.progress).unwrap_or(ProgressKind::Auto),
            json: validate.json,
            files: validate.files.or(file.files).unwrap_or_else(|| ".".into()),
            limits: validate.pace.limits(),
        })
    }
}

/// Another seed every time, short enough to be typed.
fn any_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_nanos()) / 1000)
}

fn named(
    flag: Option<String>,
    file: &Option<String>,
    name: &str,
    variable: &str,
    form: &str,
) -> Result<String, Error> {
    flag.or_else(|| file.clone()).filter(|address| !address.is_empty()).ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("no {name} is named")).with_hint(format!(
            "add `--{name} {form}`, set `{variable}`, or write `{name} = \"{form}\"` into `{FILE}`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn run(arguments: &[&str]) -> (Run, Global) {
        let cli = Cli::parse_from([&["migrate", "run"], arguments].concat());
        match cli.command {
            Command::Run(run) => (*run, cli.global),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_beats_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(
            &path,
            "source = \"a\"\ntarget = \"postgres://u:hush@h/b\"\njobs = 3\nchunk_bytes = \"1MiB\"\n\
             memory = \"300MB\"\n",
        )
        .unwrap();
        let (run, global) = run(&[
            "--config",
            path.to_str().unwrap(),
            "--source",
            "c",
            "--jobs",
            "7",
            "--uuid",
            "v7",
        ]);
        let settings = RunSettings::new(run, File::load(&global).unwrap()).unwrap();
        assert_eq!(settings.source, "c");
        assert_eq!(settings.target, "postgres://u:hush@h/b");
        assert_eq!(settings.options.jobs, 7);
        assert_eq!(settings.options.chunk_bytes, 1 << 20);
        assert_eq!(settings.options.memory_bytes, 300_000_000);
        assert_eq!(settings.options.uuid, UuidVersion::V7);
        assert!(!format!("{settings:?}").contains("hush"));
    }

    #[test]
    fn a_memory_that_cannot_be_kept_is_refused() {
        let settings = |memory: &str| {
            let (run, global) = run(&["--source", "a", "--target", "b", "--memory", memory]);
            RunSettings::new(run, File::load(&global).unwrap())
        };
        assert_eq!(settings("128MB").unwrap().options.memory_bytes, 128_000_000);
        let text = crate::report::error_text(&settings("127MB").unwrap_err(), &[]);
        assert!(text.contains("less than 128 MB") && text.contains("hint:"), "{text}");
    }

    #[test]
    fn a_wrong_file_is_named_without_its_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, "\ntraget = \"postgres://u:hush@h/b\"\n").unwrap();
        let (_, global) = run(&["--config", path.to_str().unwrap()]);
        let error = File::load(&global).err().unwrap();
        let text = crate::report::error_text(&error, &[]);
        assert!(text.contains("is not valid, line 2\n  cause: unknown field `traget`"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}
