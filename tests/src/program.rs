//! The command as a program: started, listened to, and killed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for one event before it gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The events of chunks and tasks that are done. That one was begun says nothing: several are begun
/// before all of them are done together.
pub const WORK: [&str; 2] = ["chunk_done", "task_finished"];

/// A `migrate run` in a process of its own, which tells what it does. It is killed when its value
/// is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    events: Receiver<Value>,
    /// The step that it is in, as far as it has told.
    step: String,
    /// Its files, which go with it where they are its own.
    _folder: Option<tempfile::TempDir>,
    /// How often each event was heard.
    pub heard: std::collections::BTreeMap<String, u64>,
    /// What it waited for.
    pub waits: Vec<String>,
}

impl Program {
    /// Starts `executable run` with those arguments.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(executable: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut program = Self::start_in(folder.path(), executable, arguments);
        program._folder = Some(folder);
        program
    }

    /// Starts `executable run` with those arguments, with its files in a folder that stays.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_in(folder: &Path, executable: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(executable)
            .arg("run")
            .args(arguments)
            .args(["--progress", "json", "--files"])
            .arg(folder)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let (sender, events) = channel();
        std::thread::spawn(move || {
            // The last line may be cut off by a kill.
            let values = lines.map_while(Result::ok).map(|line| serde_json::from_str(&line));
            for event in values.map_while(Result::ok) {
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            events,
            step: "start".to_owned(),
            _folder: None,
            heard: std::collections::BTreeMap::new(),
            waits: Vec::new(),
        }
    }

    /// Waits for the next event; gives its name, or `None` when the program has ended.
    ///
    /// # Panics
    /// When there is none for two minutes.
    pub fn next_event(&mut self) -> Option<String> {
        let event = match self.events.recv_timeout(PATIENCE) {
            Ok(event) => event,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("silent for {PATIENCE:?} in {}", self.step),
        };
        let name = event["event"].as_str().unwrap_or_default().to_owned();
        if let ("step_started" | "task_started", Some(step)) =
            (name.as_str(), event["step"].as_str())
        {
            self.step = step.to_owned();
        }
        if name == "waiting" {
            self.waits.push(event["what"].as_str().unwrap_or_default().to_owned());
        }
        *self.heard.entry(name.clone()).or_default() += 1;
        Some(name)
    }

    /// Waits until chunks and tasks have told of themselves so often; false when the program has
    /// ended before.
    pub fn hear(&mut self, events: u64) -> bool {
        let mut heard = 0;
        while heard < events {
            match self.next_event() {
                Some(event) => heard += u64::from(WORK.contains(&event.as_str())),
                None => return false,
            }
        }
        true
    }

    /// The step that it has told of last.
    pub fn step(&self) -> &str {
        &self.step
    }

    /// Kills it; gives its status when it had ended by itself, and how often its chunks and tasks
    /// have told of themselves in all.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn kill(mut self) -> (Option<ExitStatus>, u64) {
        // An ended process that nobody has waited for yet takes the signal without effect.
        self.child.kill().expect("it is our child");
        let status = self.child.wait().expect("it is our child");
        while self.next_event().is_some() {}
        let heard = WORK.iter().filter_map(|event| self.heard.get(*event)).sum();
        (status.code().map(|_| status), heard)
    }

    /// Waits for its end and gives its exit code.
    ///
    /// # Panics
    /// When that takes more than two minutes.
    pub fn finish(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while self.next_event().is_some() {
            assert!(begun.elapsed() < PATIENCE, "still in {}", self.step);
        }
        self.child.wait().expect("it is our child").code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail when it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
