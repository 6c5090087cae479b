//! When to reconcile: by what the database says was done, so that no restart puts it off. One process at a time; whichever comes first.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::{Options, Report, run};
use crate::database::Session;
use crate::error::{Doing, Result};
use crate::options::Databases;
use crate::sql::reconcile as sql;

/// How often a process looks whether a run is due.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The runs of one process, one after the other, beside its workers.
pub(crate) struct Schedule {
    databases: Databases,
    looked: Option<Instant>,
    running: Option<JoinHandle<()>>,
}

impl Schedule {
    pub fn new(databases: Databases) -> Schedule {
        Schedule { databases, looked: None, running: None }
    }

    /// Begins a run where one is due and none is under way here.
    pub async fn tick(&mut self, source: &Session, time_zone: &str) -> Result<()> {
        let is_running = self.running.as_ref().is_some_and(|running| !running.is_finished());
        if is_running || self.looked.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return Ok(());
        }
        if let Some(ended) = self.running.take()
            && let Err(error) = ended.await
        {
            tracing::error!("a reconciliation ended by itself; please report it with the log: {error}");
        }
        self.looked = Some(Instant::now());
        let due = source.query_one(sql::DUE, &[&time_zone]).await.doing("looking whether to reconcile")?;
        let kind: String = due.get(0);
        if kind == "none" {
            return Ok(());
        }
        let databases = self.databases.clone();
        let (full, only_repaired) = (kind == "full", kind == "repaired");
        let options = Options { full, journal: full, only_repaired, repair: true, ..Options::default() };
        self.running = Some(tokio::spawn(async move {
            match run(&databases, options, true).await {
                Ok(Some(report)) => tell(&report, &kind),
                Ok(None) => {}
                Err(error) => tracing::warn!("reconciling: {error}; tried again in a minute"),
            }
        }));
        Ok(())
    }
}

impl Drop for Schedule {
    /// A run that is cut off is taken for interrupted by the next one.
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

fn tell(report: &Report, kind: &str) {
    let bills: i64 = report.tables.iter().map(|table| table.bills).sum();
    let Report { run, outcome, repairs, .. } = report;
    match *outcome {
        "proven" => tracing::info!(run, bills, kind, "reconciled: the ledger equals the bills"),
        "incomplete" if kind == "repaired" => tracing::info!(run, "what was repaired is equal now"),
        _ => tracing::warn!(
            run,
            bills,
            kind,
            outcome,
            findings = report.critical(),
            repairs,
            "reconciled: the ledger is not proven; see daybook.reconciliation_findings"
        ),
    }
}
