//! The processes under test: `daybook run`, started, killed, stopped and started again. Whoever dies of another cause than
//! ours is a finding.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a dead process stays away.
const AWAY: Duration = Duration::from_millis(150);

/// What a process says once its first connections stand.
const STARTED: &str = "posting, until a signal";

/// What it says when source and ledger are not those that knew each other, which no fault of ours makes true.
const STRANGERS: &str = "daybook rejoin";

pub struct Consumers {
    slots: Mutex<Vec<Slot>>,
    urls: (String, String),
}

struct Slot {
    workers: usize,
    child: Option<Child>,
    /// Everything that its processes said, one after the other.
    log: PathBuf,
    /// Where in the log the present process begins.
    log_start: u64,
    /// Where the next ones are to die by themselves, the last first.
    crash_at: Vec<String>,
    /// Whether the present process was told to.
    may_crash: bool,
    /// Whether its death is our doing.
    is_killed: bool,
    start_at: Option<Instant>,
}

impl Consumers {
    /// Starts one process for each number of workers; logs go to `directory`.
    pub fn start(
        directory: &std::path::Path,
        urls: (String, String),
        workers: &[usize],
        crash_at: Vec<(usize, String)>,
    ) -> Consumers {
        let slot = |(process, workers): (usize, &usize)| {
            let crash_at = crash_at.iter().filter(|(at, _)| *at == process).map(|(_, point)| point.clone()).collect();
            Slot {
                workers: *workers,
                child: None,
                log: directory.join(format!("process_{process}.log")),
                log_start: 0,
                crash_at,
                may_crash: false,
                is_killed: false,
                start_at: None,
            }
        };
        let slots = workers.iter().enumerate().map(slot).collect();
        let consumers = Consumers { slots: Mutex::new(slots), urls };
        for slot in consumers.lock().iter_mut() {
            slot.start(&consumers.urls);
        }
        consumers
    }

    /// Looks after every process: starts again those that are dead, and tells of deaths that nobody ordered.
    pub fn look_after(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for (process, slot) in self.lock().iter_mut().enumerate() {
            if let Some(status) = slot.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                slot.child = None;
                slot.start_at = Some(Instant::now() + AWAY);
                findings.extend(slot.judge_death(process, status));
            }
            if slot.start_at.is_some_and(|at| at <= Instant::now()) {
                slot.start(&self.urls);
            }
        }
        findings
    }

    pub fn kill(&self, process: usize) {
        if let Some(slot) = self.lock().get_mut(process) {
            slot.is_killed = true;
            slot.signal(Signal::SIGKILL);
        }
    }

    pub fn freeze(&self, process: usize, is_frozen: bool) {
        if let Some(slot) = self.lock().get(process) {
            slot.signal(if is_frozen { Signal::SIGSTOP } else { Signal::SIGCONT });
        }
    }

    /// No process dies by itself from now on.
    pub fn disarm(&self) {
        for slot in self.lock().iter_mut() {
            slot.crash_at.clear();
        }
    }

    /// Ends every process in order, and tells of those that do not end so.
    pub async fn stop(&self) -> Vec<String> {
        for slot in self.lock().iter_mut() {
            slot.start_at = None;
            slot.signal(Signal::SIGCONT);
            slot.signal(Signal::SIGTERM);
        }
        let mut findings = Vec::new();
        let asked = Instant::now();
        loop {
            let mut alive = 0;
            for (process, slot) in self.lock().iter_mut().enumerate() {
                let Some(child) = slot.child.as_mut() else { continue };
                match child.try_wait() {
                    Ok(None) if asked.elapsed() > Duration::from_secs(30) => {
                        let _ = child.kill();
                        let _ = child.wait();
                        slot.child = None;
                        findings.push(format!("process {process} does not end 30 s after SIGTERM\n{}", slot.tail()));
                    }
                    Ok(None) => alive += 1,
                    Ok(Some(status)) if status.success() || slot.is_killed => slot.child = None,
                    Ok(Some(status)) => {
                        // One that was about to start has not heard the signal's meaning yet.
                        if slot.has_said(STARTED) {
                            findings.push(format!("process {process} ended with {status} on SIGTERM\n{}", slot.tail()));
                        }
                        slot.child = None;
                    }
                    Err(error) => panic!("waiting for process {process}: {error}"),
                }
            }
            if alive == 0 {
                return findings;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The last lines of every log.
    pub fn tails(&self) -> String {
        let slots = self.lock();
        let tails = slots.iter().enumerate().map(|(process, slot)| format!("--- process {process}\n{}", slot.tail()));
        tails.collect::<Vec<_>>().join("\n")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Consumers {
    fn drop(&mut self) {
        for slot in self.lock().iter_mut() {
            if let Some(mut child) = slot.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

impl Slot {
    fn start(&mut self, (source, ledger): &(String, String)) {
        self.start_at = None;
        self.is_killed = false;
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("opens the log");
        self.log_start = log.metadata().expect("has a length").len();
        let mut command = Command::new(env!("CARGO_BIN_EXE_daybook"));
        command.args(["run", "--workers", &self.workers.to_string()]);
        command.env("DAYBOOK_SOURCE_URL", source).env("DAYBOOK_LEDGER_URL", ledger).env("NO_COLOR", "1");
        let crash_at = self.crash_at.pop();
        self.may_crash = crash_at.is_some();
        if let Some(point) = crash_at {
            command.env("DAYBOOK_CRASH_AT", point);
        }
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // SAFETY: prctl is one system call, and touches nothing that the other threads share.
        unsafe {
            command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        self.child = Some(command.spawn().expect("starts daybook"));
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            let _ = kill(Pid::from_raw(child.id() as i32), signal);
        }
    }

    fn judge_death(&self, process: usize, status: ExitStatus) -> Option<String> {
        let finding = |what: &str| Some(format!("process {process} {what} ({status})\n{}", self.tail()));
        if self.has_said("panicked at") {
            return finding("panicked");
        } else if self.has_said(STRANGERS) {
            return finding("took source and ledger for strangers");
        }
        match (status.code(), status.signal()) {
            _ if self.is_killed => None,
            (_, Some(signal)) if signal == Signal::SIGABRT as i32 && self.may_crash => None,
            _ => finding("ended by itself"),
        }
    }

    /// What the present process has said.
    fn said(&self) -> String {
        let all = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(all.get(self.log_start as usize..).unwrap_or_default()).into_owned()
    }

    fn has_said(&self, words: &str) -> bool {
        self.said().contains(words)
    }

    fn tail(&self) -> String {
        let all = fs::read(&self.log).unwrap_or_default();
        let all = String::from_utf8_lossy(&all);
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}
